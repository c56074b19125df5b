/* The backend on a GPU: one stream, plain allocations, copies through pinned memory, whole replays
 * as CUDA graphs. The first error stays and is what synchronise reports from then on. */
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "engine/cuda/backend.h"
#include "engine/cuda/device_state.h"

static GpuState *gpu(void *state) {
    return static_cast<GpuState *>(static_cast<CudaState *>(state));
}

cudaStream_t stream_of(const Run *run) {
    return static_cast<GpuState *>(state_of(run))->stream;
}

unsigned most_cluster(const Run *run) {
    return static_cast<GpuState *>(state_of(run))->properties.major >= 9 ? 4 : 1;
}

size_t most_shared(const Run *run) {
    return static_cast<GpuState *>(state_of(run))->properties.sharedMemPerBlockOptin;
}

bool has_warpgroup_products(const Run *run) {
    const cudaDeviceProp &properties = static_cast<GpuState *>(state_of(run))->properties;
    return properties.major == 9 && properties.minor == 0;
}

void gpu_note(GpuState *state, const char *what, const char *kernel, const char *reason) {
    if (state->failure[0]) return;
    std::snprintf(state->failure, sizeof state->failure, "%s%s%s: %s", what, kernel[0] ? " " : "",
                  kernel, reason);
}

/* Launches wait for their kernel, so that one that fails is known. */
static bool launches_wait() {
    return std::getenv("CUDA_LAUNCH_BLOCKING") != NULL;
}
#define HOW_TO_NAME "(CUDA_LAUNCH_BLOCKING=1 names it)"

void note_launch(const Run *run, const char *kernel, cudaError_t error) {
    if (error == cudaSuccess) return;
    char text[192]; /* a launch also reports what an earlier kernel has done */
    std::snprintf(text, sizeof text, "%.128s%s", kernel,
                  launches_wait() ? "" : ", or one before it " HOW_TO_NAME);
    gpu_note(static_cast<GpuState *>(state_of(run)), "kernel", text, cudaGetErrorString(error));
}

static void note(GpuState *state, const char *what, cudaError_t error) {
    if (error != cudaSuccess) gpu_note(state, what, "", cudaGetErrorString(error));
}

unsigned resident_blocks_of(const Run *run, const void *kernel, unsigned threads, size_t shared) {
    int each = 0; /* on a multiprocessor */
    cudaError_t error =
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shared);
    if (error == cudaSuccess)
        error = cudaOccupancyMaxActiveBlocksPerMultiprocessor(&each, kernel, (int)threads, shared);
    note(static_cast<GpuState *>(state_of(run)), "asking how many blocks fit", error);
    return (unsigned)each * (unsigned)state_of(run)->processors;
}

KERNEL void probe(int *out) {
    if (out) *out = 1;
}

static const char *version_text(int version, char text[16]) {
    std::snprintf(text, 16, "%d.%d", version / 1000, version % 1000 / 10);
    return text;
}

/* Why no GPU can be used; the words say what to do. */
static bool explain(cudaError_t error, char *message, size_t bytes) {
    int driver = 0;
    char needed[16], found[16];
    cudaDriverGetVersion(&driver);
    version_text(CUDART_VERSION, needed);
    version_text(driver, found);
    if (error == cudaErrorInsufficientDriver)
        std::snprintf(message, bytes,
                      "the driver is too old: it supports CUDA %s and this build needs %s; update "
                      "the driver, or build with an older toolkit (NVCC=)",
                      found, needed);
    else if (error == cudaErrorNoDevice)
        std::snprintf(message, bytes,
                      "the driver finds no GPU; is one installed, and does CUDA_VISIBLE_DEVICES "
                      "leave one?");
    else if (error == cudaErrorNoKernelImageForDevice || error == cudaErrorInvalidDeviceFunction ||
             error == cudaErrorUnsupportedPtxVersion)
        std::snprintf(message, bytes,
                      "this build has code for %s, none of which runs on this GPU; build with "
                      "CUDA_ARCHITECTURES=NUMBER (its compute capability, without the point)",
                      LONGHAUL_CUDA_MACHINE_CODE);
    else
        std::snprintf(message, bytes, "%s (CUDA %s, driver for %s)", cudaGetErrorString(error),
                      needed, found);
    return false;
}

static bool gpu_open(void **state, char *message, size_t bytes) {
    int count = 0;
    cudaError_t error = cudaGetDeviceCount(&count);
    if (error == cudaSuccess && count == 0) error = cudaErrorNoDevice;
    if (error == cudaSuccess) error = cudaSetDevice(0); /* CUDA_VISIBLE_DEVICES chooses */
    cudaFuncAttributes attributes;
    if (error == cudaSuccess)
        error = cudaFuncGetAttributes(&attributes, reinterpret_cast<const void *>(probe));
    if (error != cudaSuccess) return explain(error, message, bytes);
    GpuState *own = new GpuState();
    error = cudaStreamCreateWithFlags(&own->stream, cudaStreamNonBlocking);
    if (error == cudaSuccess) error = cudaGetDeviceProperties(&own->properties, 0);
    if (error == cudaSuccess) error = cudaMalloc(&own->workspace, GPU_WORKSPACE);
    own->processors = own->properties.multiProcessorCount;
    own->cache_bytes = (size_t)own->properties.l2CacheSize;
    if (error == cudaSuccess && cublasLtCreate(&own->products) == CUBLAS_STATUS_SUCCESS) {
        *state = static_cast<CudaState *>(own);
        return true;
    }
    if (error == cudaSuccess)
        std::snprintf(message, bytes, "cuBLASLt cannot be initialised");
    else
        explain(error, message, bytes);
    cudaFree(own->workspace);
    delete own;
    return false;
}

static void gpu_close(void *state) {
    GpuState *own = gpu(state);
    cudaStreamSynchronize(own->stream);
    for (auto &entry : own->algorithms) gpu_forget_product(&entry.second);
    cublasLtDestroy(own->products);
    cudaFree(own->workspace);
    cudaStreamDestroy(own->stream);
    delete own;
}

static int64_t gpu_available(void *) {
    size_t available = 0, total = 0;
    return cudaMemGetInfo(&available, &total) == cudaSuccess ? (int64_t)available : 0;
}

static bool gpu_allocate(void *state, size_t bytes, void **memory, char *message, size_t length) {
    GpuState *own = gpu(state);
    const int64_t available = gpu_available(state);
    cudaError_t error = cudaMalloc(memory, bytes + 1);
    if (error == cudaSuccess) error = cudaMemsetAsync(*memory, 0, bytes, own->stream);
    if (error == cudaSuccess) return true;
    cudaGetLastError(); /* an allocation that fails leaves the device usable */
    std::snprintf(message, length,
                  "%zu bytes (%.2f GiB) of GPU memory are needed and %lld (%.2f GiB) are "
                  "available (%s); use a smaller batch, micro_batch, length or width, or "
                  "recompute=yes",
                  bytes, (double)bytes / 0x1p30, (long long)available, (double)available / 0x1p30,
                  cudaGetErrorString(error));
    return false;
}

static void gpu_release(void *state, void *memory, size_t) {
    cudaStreamSynchronize(gpu(state)->stream);
    cudaFree(memory);
}

static void gpu_describe(void *state, char *text, size_t bytes) {
    const cudaDeviceProp &p = gpu(state)->properties;
    std::snprintf(text, bytes, "%s, compute capability %d.%d, %.0f GiB, %d multiprocessors", p.name,
                  p.major, p.minor, (double)p.totalGlobalMem / 0x1p30, p.multiProcessorCount);
}

static bool gpu_pin(void *, size_t bytes, void **memory, char *message, size_t length) {
    const cudaError_t error = cudaMallocHost(memory, bytes + 1);
    if (error == cudaSuccess) {
        std::memset(*memory, 0, bytes + 1);
        return true;
    }
    cudaGetLastError();
    std::snprintf(message, length, "%zu bytes of pinned host memory cannot be had: %s", bytes,
                  cudaGetErrorString(error));
    return false;
}

static void gpu_unpin(void *state, void *memory) {
    cudaStreamSynchronize(gpu(state)->stream);
    cudaFreeHost(memory);
}

static void gpu_upload(void *state, void *to, const void *from, size_t bytes) {
    GpuState *own = gpu(state);
    note(own, "copying to the GPU",
         cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, own->stream));
}

static void gpu_download(void *state, void *to, const void *from, size_t bytes) {
    GpuState *own = gpu(state);
    note(own, "copying from the GPU",
         cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, own->stream));
}

static void gpu_copy(void *state, void *to, const void *from, size_t bytes) {
    GpuState *own = gpu(state);
    note(own, "copying on the GPU",
         cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, own->stream));
}

static void gpu_zero(void *state, void *memory, size_t bytes) {
    GpuState *own = gpu(state);
    note(own, "zeroing GPU memory", cudaMemsetAsync(memory, 0, bytes, own->stream));
}

/* What happened up to here, as an answer: the first failure stays. */
static bool verdict(GpuState *own, cudaError_t error, char *message, size_t bytes) {
    if (error != cudaSuccess) gpu_note(own, "a kernel", HOW_TO_NAME, cudaGetErrorString(error));
    if (!own->failure[0]) return true;
    std::snprintf(message, bytes, "%s", own->failure);
    return false;
}

static bool gpu_failed(void *state) {
    return gpu(state)->failure[0] && launches_wait();
}

static bool gpu_synchronise(void *state, char *message, size_t bytes) {
    GpuState *own = gpu(state);
    return verdict(own, cudaStreamSynchronize(own->stream), message, bytes);
}

/* Where launches wait nothing is recorded: of a recording only the whole would have failed. */
static bool gpu_record(void *state) {
    GpuState *own = gpu(state);
    if (launches_wait()) return false;
    const cudaError_t error = cudaStreamBeginCapture(own->stream, cudaStreamCaptureModeThreadLocal);
    note(own, "recording a step", error);
    return error == cudaSuccess;
}

static void *gpu_recorded(void *state) {
    GpuState *own = gpu(state);
    cudaGraph_t graph = NULL;
    cudaGraphExec_t launchable = NULL;
    cudaError_t error = cudaStreamEndCapture(own->stream, &graph);
    if (error == cudaSuccess) error = cudaGraphInstantiate(&launchable, graph, 0);
    note(own, "recording a step", error);
    if (graph) cudaGraphDestroy(graph);
    return error == cudaSuccess ? launchable : NULL;
}

static void gpu_launch(void *state, void *recording) {
    GpuState *own = gpu(state);
    note(own, "launching a recorded step",
         cudaGraphLaunch(static_cast<cudaGraphExec_t>(recording), own->stream));
}

static void gpu_forget(void *state, void *recording) {
    cudaStreamSynchronize(gpu(state)->stream);
    cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(recording));
}

static void *gpu_mark(void *state, void *old) {
    GpuState *own = gpu(state);
    cudaEvent_t event = static_cast<cudaEvent_t>(old);
    cudaError_t error = event ? cudaSuccess : cudaEventCreate(&event);
    if (error == cudaSuccess) error = cudaEventRecord(event, own->stream);
    note(own, "recording an event", error);
    return event;
}

static bool gpu_wait(void *state, void *mark, char *message, size_t bytes) {
    return verdict(gpu(state), cudaEventSynchronize(static_cast<cudaEvent_t>(mark)), message,
                   bytes);
}

static double gpu_between(void *state, void *first, void *second) {
    float milliseconds = 0;
    cudaError_t error = cudaEventSynchronize(static_cast<cudaEvent_t>(second));
    if (error == cudaSuccess)
        error = cudaEventElapsedTime(&milliseconds, static_cast<cudaEvent_t>(first),
                                     static_cast<cudaEvent_t>(second));
    note(gpu(state), "reading the GPU's clock", error);
    return error == cudaSuccess ? 1e-3 * (double)milliseconds : NAN;
}

static void gpu_drop(void *, void *mark) {
    cudaEventDestroy(static_cast<cudaEvent_t>(mark));
}

static void gpu_address(void *, char *text, size_t bytes) {
    if (cudaDeviceGetPCIBusId(text, (int)bytes, 0) != cudaSuccess) text[0] = '\0';
}

constinit const CudaLibrary backend = {.interface = CUDA_INTERFACE,
                                       .call_bytes = sizeof(OpCall),
                                       .toolkit = CUDART_VERSION,
                                       .architectures = LONGHAUL_CUDA_MACHINE_CODE,
                                       .open = gpu_open,
                                       .close = gpu_close,
                                       .allocate = gpu_allocate,
                                       .release = gpu_release,
                                       .available = gpu_available,
                                       .describe = gpu_describe,
                                       .pin = gpu_pin,
                                       .unpin = gpu_unpin,
                                       .upload = gpu_upload,
                                       .download = gpu_download,
                                       .copy = gpu_copy,
                                       .zero = gpu_zero,
                                       .synchronise = gpu_synchronise,
                                       .failed = gpu_failed,
                                       .record = gpu_record,
                                       .recorded = gpu_recorded,
                                       .launch = gpu_launch,
                                       .forget = gpu_forget,
                                       .mark = gpu_mark,
                                       .wait = gpu_wait,
                                       .between = gpu_between,
                                       .drop = gpu_drop,
                                       .address = gpu_address};
