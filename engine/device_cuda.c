/* CUDA as a device: finds and loads the library that holds the kernels, so that one program serves
 * machines with and without a GPU. Nothing here needs CUDA to compile. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/cuda/library.h"
#include "engine/device_cuda.h"
#include "engine/library.h"
#include "engine/memory.h"

/* Device.state of an open device begins with the library's own: kernels are handed the state. */
typedef struct Loaded {
    void *state;
    void *handle; /* of dlopen */
    const CudaLibrary *library;
} Loaded;

static Status load(const char *file, const char *missing, Loaded *loaded, Error *error) {
    char path[PATH_MAX];
    if (!library_find(file, path))
        return error_set(error, STATUS_USAGE, "no %s beside the program or in ../lib: %s", file,
                         missing);
    *loaded = (Loaded){.handle = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE)};
    if (!loaded->handle)
        return error_set(error, STATUS_USAGE,
                         "%s cannot be loaded: %s; the CUDA libraries it names (of the toolkit it "
                         "was built with) must be on this machine and in LD_LIBRARY_PATH",
                         path, dlerror());
    loaded->library = dlsym(loaded->handle, CUDA_LIBRARY_SYMBOL);
    if (loaded->library && loaded->library->interface == CUDA_INTERFACE &&
        loaded->library->call_bytes == sizeof(OpCall))
        return STATUS_OK;
    dlclose(loaded->handle);
    return error_set(error, STATUS_USAGE,
                     "%s belongs to another build of the program; run make again", path);
}

static Status open_library(Device *device, const char *file, const char *missing, Error *error) {
    Loaded *loaded = memory_take_zeroed(1, sizeof *loaded);
    Status status = load(file, missing, loaded, error);
    if (status != STATUS_OK) {
        free(loaded);
        return status;
    }
    char message[768] = "";
    if (!loaded->library->open(&loaded->state, message, sizeof message)) {
        status = error_set(error, STATUS_USAGE, "device %s: %s", device->kind->name, message);
        dlclose(loaded->handle);
        free(loaded);
        return status;
    }
    device->state = loaded;
    return STATUS_OK;
}

/* The kernel driver makes this folder; without it CUDA's libraries need not be tried at all. */
#define DRIVER_FOLDER "/proc/driver/nvidia"

static Status check_driver(Error *error) {
    void *driver = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL);
    if (driver) {
        dlclose(driver);
        return STATUS_OK;
    }
    if (access(DRIVER_FOLDER, F_OK) == 0)
        return error_set(error, STATUS_USAGE,
                         "device cuda: the kernel driver is loaded but its library libcuda.so.1 is "
                         "not found; inside a container start it with the GPU passed through, "
                         "otherwise install the driver's user-space part");
    return error_set(error, STATUS_USAGE,
                     "device cuda: this machine has no NVIDIA driver (no libcuda.so.1), so no GPU "
                     "can be used; install the driver, or use --device cpu");
}

static Status cuda_open(Device *device, Error *error) {
    char path[PATH_MAX];
    /* What was not built is said before what is not installed. */
    if (library_find(CUDA_LIBRARY_FILE, path) && check_driver(error) != STATUS_OK)
        return error->status;
    return open_library(device, CUDA_LIBRARY_FILE,
                        "the program was built without CUDA (make found no nvcc); install the CUDA "
                        "toolkit, or name its compiler with NVCC=, and run make, or use "
                        "--device cpu",
                        error);
}

static Status emulated_open(Device *device, Error *error) {
    return open_library(device, EMULATED_LIBRARY_FILE, "make emulated builds it (needs g++)",
                        error);
}

static Status races_open(Device *device, Error *error) {
    return open_library(device, RACES_LIBRARY_FILE, "make races builds it (needs g++)", error);
}

static Loaded *loaded_of(const Device *device) {
    return device->state;
}

#define LIBRARY(device) loaded_of(device)->library
#define STATE(device) loaded_of(device)->state

static void cuda_close(Device *device) {
    Loaded *loaded = loaded_of(device);
    if (!loaded) return;
    loaded->library->close(loaded->state);
    dlclose(loaded->handle);
    free(loaded);
}

static Status cuda_allocate(Device *device, size_t bytes, void **memory, Error *error) {
    char message[512] = "";
    if (LIBRARY(device)->allocate(STATE(device), bytes, memory, message, sizeof message))
        return STATUS_OK;
    return error_set(error, STATUS_USAGE, "%s", message);
}

static void cuda_release(Device *device, void *memory, size_t bytes) {
    if (memory) LIBRARY(device)->release(STATE(device), memory, bytes);
}

static const CudaOp *find_op(const Device *device, const char *name) {
    return LIBRARY(device)->find(name);
}

static const OpKernels *cuda_kernels(const Device *device, const Op *op) {
    const CudaOp *found = find_op(device, op->name);
    return found ? &found->kernels : NULL;
}

static int64_t cuda_available(const Device *device) {
    return LIBRARY(device)->available(STATE(device));
}

static void cuda_describe(const Device *device, char *text, size_t bytes) {
    LIBRARY(device)->describe(STATE(device), text, bytes);
}

static Status cuda_pin(Device *device, size_t bytes, void **memory, Error *error) {
    char message[512] = "";
    if (LIBRARY(device)->pin(STATE(device), bytes, memory, message, sizeof message))
        return STATUS_OK;
    return error_set(error, STATUS_USAGE, "%s", message);
}

static void cuda_unpin(Device *device, void *memory) {
    if (memory) LIBRARY(device)->unpin(STATE(device), memory);
}

static void cuda_upload(Device *device, void *to, const void *from, size_t bytes) {
    LIBRARY(device)->upload(STATE(device), to, from, bytes);
}

static void cuda_download(Device *device, void *to, const void *from, size_t bytes) {
    LIBRARY(device)->download(STATE(device), to, from, bytes);
}

static void cuda_copy(Device *device, void *to, const void *from, size_t bytes) {
    LIBRARY(device)->copy(STATE(device), to, from, bytes);
}

static void cuda_zero(Device *device, void *memory, size_t bytes) {
    LIBRARY(device)->zero(STATE(device), memory, bytes);
}

static void cuda_prepare(Device *device, const Run *run) {
    LIBRARY(device)->prepare(STATE(device), run);
}

static Status report_failure(const Device *device, const char *message, Error *error) {
    return error_set(error, STATUS_IO, "device %s%s%s: %s", device->kind->name,
                     device->failed_in[0] ? ", " : "", device->failed_in, message);
}

static Status cuda_synchronise(Device *device, Error *error) {
    char message[768] = "";
    if (LIBRARY(device)->synchronise(STATE(device), message, sizeof message)) return STATUS_OK;
    return report_failure(device, message, error);
}

static bool cuda_failed(Device *device) {
    return LIBRARY(device)->failed(STATE(device));
}

static size_t cuda_scratch(const Device *device, const OpCall *call, Phase phase) {
    const CudaOp *op = find_op(device, call->op->name);
    return op && op->scratch ? op->scratch(call, phase) : 0;
}

static Kept cuda_kept(const Device *device, const OpCall *call) {
    const CudaOp *op = find_op(device, call->op->name);
    return op && op->kept ? op->kept(call) : (Kept){0};
}

static Roundable cuda_roundable(const Device *device, const OpCall *call) {
    const CudaOp *op = find_op(device, call->op->name);
    return op && op->roundable ? op->roundable(call) : (Roundable){0};
}

static void cuda_update(Device *device, const AdamWFlat *flat, const AdamWPart *parts, int count,
                        double clip, double *norm) {
    LIBRARY(device)->update(STATE(device), flat, parts, count, clip, norm);
}

static bool cuda_record(Device *device) {
    return LIBRARY(device)->record && LIBRARY(device)->record(STATE(device));
}

static void *cuda_recorded(Device *device) {
    return LIBRARY(device)->recorded(STATE(device));
}

static void cuda_launch(Device *device, void *recording) {
    LIBRARY(device)->launch(STATE(device), recording);
}

static void cuda_forget(Device *device, void *recording) {
    LIBRARY(device)->forget(STATE(device), recording);
}

static void *cuda_mark(Device *device, void *old) {
    return LIBRARY(device)->mark(STATE(device), old);
}

static Status cuda_wait(Device *device, void *mark, Error *error) {
    char message[768] = "";
    if (LIBRARY(device)->wait(STATE(device), mark, message, sizeof message)) return STATUS_OK;
    return report_failure(device, message, error);
}

static double cuda_between(Device *device, void *first, void *second) {
    return LIBRARY(device)->between(STATE(device), first, second);
}

static void cuda_drop(Device *device, void *mark) {
    if (mark) LIBRARY(device)->drop(STATE(device), mark);
}

static bool cuda_flush(Device *device) {
    return LIBRARY(device)->flush(STATE(device));
}

static Status cuda_ceiling(Device *device, Ceiling *ceiling, Error *error) {
    char message[512] = "";
    if (LIBRARY(device)->ceiling(STATE(device), ceiling, message, sizeof message)) return STATUS_OK;
    return error_set(error, STATUS_USAGE, "measuring what the device can do: %s", message);
}

static void cuda_address(const Device *device, char *text, size_t bytes) {
    LIBRARY(device)->address(STATE(device), text, bytes);
}

static const DeviceRemote remote = {
    .pin = cuda_pin,
    .unpin = cuda_unpin,
    .upload = cuda_upload,
    .download = cuda_download,
    .copy = cuda_copy,
    .zero = cuda_zero,
    .prepare = cuda_prepare,
    .synchronise = cuda_synchronise,
    .failed = cuda_failed,
    .scratch = cuda_scratch,
    .kept = cuda_kept,
    .roundable = cuda_roundable,
    .update = cuda_update,
    .record = cuda_record,
    .recorded = cuda_recorded,
    .launch = cuda_launch,
    .forget = cuda_forget,
    .mark = cuda_mark,
    .wait = cuda_wait,
    .between = cuda_between,
    .drop = cuda_drop,
    .flush = cuda_flush,
    .ceiling = cuda_ceiling,
    .address = cuda_address,
};

#define KIND_COMMON                                                                                \
    .close = cuda_close, .allocate = cuda_allocate, .release = cuda_release,                       \
    .kernels = cuda_kernels, .available = cuda_available, .describe = cuda_describe,               \
    .remote = &remote

extern const DeviceKind device_cuda, device_cuda_emulated, device_cuda_races;
const DeviceKind device_cuda = {.name = "cuda", .open = cuda_open, KIND_COMMON};
const DeviceKind device_cuda_emulated = {
    .name = "cuda-emulated", .for_tests = true, .open = emulated_open, KIND_COMMON};
const DeviceKind device_cuda_races = {
    .name = "cuda-races", .for_tests = true, .open = races_open, KIND_COMMON};

void cuda_machine_code(char *text, size_t bytes) {
    Loaded loaded;
    char path[PATH_MAX];
    Error error = {0};
    if (!library_find(CUDA_LIBRARY_FILE, path)) {
        snprintf(text, bytes, "not built (make found no nvcc)");
    } else if (load(CUDA_LIBRARY_FILE, "", &loaded, &error) != STATUS_OK) {
        snprintf(text, bytes, "%.200s", error.message);
    } else {
        snprintf(text, bytes, "CUDA %d.%d, %s", loaded.library->toolkit / 1000,
                 loaded.library->toolkit % 1000 / 10, loaded.library->architectures);
        dlclose(loaded.handle);
    }
}
