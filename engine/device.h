/* Devices: where memory is and which kernels run. One table row each; policy is the caller's. */
#ifndef LONGHAUL_DEVICE_H
#define LONGHAUL_DEVICE_H

#include "engine/adamw.h"
#include "engine/ceiling.h"
#include "engine/op.h"
#include "engine/status.h"

typedef struct Device Device;

/* What a device whose memory the host cannot touch does beyond the rest. All of it is enqueued in
 * order with the kernels; host memory comes from pin; only synchronise waits. */
typedef struct DeviceRemote {
    Status (*pin)(Device *device, size_t bytes, void **memory, Error *error); /* zeroed */
    void (*unpin)(Device *device, void *memory);
    void (*upload)(Device *device, void *to, const void *from, size_t bytes);
    void (*download)(Device *device, void *to, const void *from, size_t bytes);
    void (*copy)(Device *device, void *to, const void *from, size_t bytes);
    void (*zero)(Device *device, void *memory, size_t bytes);
    /* Seed and pass of a replay, which kernels read from the device's memory. */
    void (*prepare)(Device *device, const Run *run);
    /* Waits; the first failure of anything since the device was opened, with the kernel's name. */
    Status (*synchronise)(Device *device, Error *error);
    /* Whether what was enqueued last has failed: false where that is not known yet. */
    bool (*failed)(Device *device);
    /* Scratch of a kernel: it is not cut the way the CPU's is. */
    size_t (*scratch)(const Device *device, const OpCall *call, Phase phase);
    /* What its forward leaves for backward. */
    Kept (*kept)(const Device *device, const OpCall *call);
    Roundable (*roundable)(const Device *device, const OpCall *call);
    /* One update of all ranges with clipping; see engine/adamw.h. The norm before clipping arrives
     * in *norm (pinned; NULL: not wanted) in order with everything else. After one that is not
     * finite nothing is changed any more, so that who learns of it late finds everything as it
     * was. */
    void (*update)(Device *device, const AdamWFlat *flat, const AdamWPart *parts, int count,
                   double clip, double *norm);
    /* Records what is enqueued between the two instead of running it; NULL: cannot. */
    bool (*record)(Device *device);
    void *(*recorded)(Device *device); /* NULL: failed, and synchronise says why */
    void (*launch)(Device *device, void *recording);
    void (*forget)(Device *device, void *recording);
    /* A place in the order of everything enqueued: behind what has been so far. Moves `old` there,
     * or makes a new one of NULL. */
    void *(*mark)(Device *device, void *old);
    /* Until the device has come there. The first failure of anything since it was opened. */
    Status (*wait)(Device *device, void *mark, Error *error);
    /* Seconds of the device's own clock from one to the other; waits. Not-a-number: failed. */
    double (*between)(Device *device, void *first, void *second);
    void (*drop)(Device *device, void *mark); /* NULL: nothing */
    /* Enqueues reading of more than the caches hold, so that the next kernel finds nothing of its
     * data there. False: no memory for it. */
    bool (*flush)(Device *device);
    /* What the device can do at best, measured now (about a second). */
    Status (*ceiling)(Device *device, Ceiling *ceiling, Error *error);
    /* Place on the PCI bus, by which the driver's tools know it; "": it has none. */
    void (*address)(const Device *device, char *text, size_t bytes);
} DeviceRemote;

typedef struct DeviceKind {
    const char *name; /* "cpu" */
    bool for_tests;   /* left out of lists that users choose from */
    /* STATUS_USAGE when this machine has no such device, naming what is missing. */
    Status (*open)(Device *device, Error *error);
    void (*close)(Device *device);
    /* Zeroed memory, 64-byte aligned. STATUS_USAGE with needed and available bytes. */
    Status (*allocate)(Device *device, size_t bytes, void **memory, Error *error);
    void (*release)(Device *device, void *memory, size_t bytes);
    /* The kernels of an operation; NULL when the device has none (never replaced silently). */
    const OpKernels *(*kernels)(const Device *device, const Op *op);
    int64_t (*available)(const Device *device); /* bytes that an allocation may still take */
    void (*describe)(const Device *device, char *text, size_t bytes);
    const DeviceRemote *remote; /* NULL: memory is the host's own */
} DeviceKind;

struct Device {
    const DeviceKind *kind;
    Isa isa;             /* cpu: instruction set of the kernels */
    void *state;         /* the kind's own */
    char failed_in[192]; /* "backward of lstm at layers.1.mixer", where that is known; "" */
};

/* All kinds of device of this build. */
const DeviceKind *const *device_list(int *count);

/* Sets flush-to-zero and denormals-are-zero for this thread and all threads it starts from then on,
 * so that speed does not depend on how small numbers get. Nothing on processors other than x86. */
void device_flush_denormals(void);
/* Tells whether this thread's denormal numbers become zero. */
bool device_denormals_flushed(void);

/* Opens the device of this name, flushing denormals. */
Status device_open(Device *device, const char *name, Error *error);
void device_close(Device *device);

/* Between host memory (DeviceRemote.pin) and the device's, in order with its kernels; both are
 * plain copies at once where the two are the same. */
void device_upload(Device *device, void *to, const void *from, size_t bytes);
void device_download(Device *device, void *to, const void *from, size_t bytes);
void device_zero(Device *device, void *memory, size_t bytes);
void device_copy(Device *device, void *to, const void *from, size_t bytes); /* within it */

/* Waits until everything is done. STATUS_IO when something failed: what and in which kernel. */
Status device_synchronise(Device *device, Error *error);

#endif
