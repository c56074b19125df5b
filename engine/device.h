/* Devices: where memory is and which kernels run. One table row each; policy is the caller's. */
#ifndef LONGHAUL_DEVICE_H
#define LONGHAUL_DEVICE_H

#include "engine/op.h"
#include "engine/status.h"

typedef struct Device Device;

typedef struct DeviceKind {
    const char *name; /* "cpu" */
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
} DeviceKind;

struct Device {
    const DeviceKind *kind;
    Isa isa;     /* cpu: instruction set of the kernels */
    void *state; /* the kind's own */
};

/* All kinds of device of this build. */
const DeviceKind *const *device_list(int *count);

/* Opens the device of this name. Also sets flush-to-zero and denormals-are-zero for this thread and
 * all threads it starts, so that speed does not depend on how small numbers get. */
Status device_open(Device *device, const char *name, Error *error);
void device_close(Device *device);

#endif
