/* The part of the CUDA runtime that the library uses, for the CPU: so that engine/cuda/device_*.cu
 * run in tests as they stand. Names, values and meaning are CUDA's; what its documentation leaves
 * undefined ends the program with a message.
 *
 * What is enqueued runs as late as it may: when the host waits for it, frees memory, or has
 * enqueued 1024 things more. A host that reads results or writes inputs too early, and an argument
 * that was right only while it was enqueued, then change results. With CUDA_LAUNCH_BLOCKING=1
 * everything runs at once, the other extreme.
 *
 * LONGHAUL_EMULATED_FAILURE="COUNT ERROR NAME", for tests: when the kernel NAME runs for the
 * COUNTth time, the device fails with that number and from then on answers every call so; or the
 * COUNTth call of the function NAME fails with it. */
#ifndef LONGHAUL_CUDA_EMULATED_RUNTIME_H
#define LONGHAUL_CUDA_EMULATED_RUNTIME_H

#include <cstddef>
#include <functional>
#include <tuple>
#include <utility>

#define CUDART_VERSION 0 /* no toolkit */
#define LONGHAUL_CUDA_MACHINE_CODE "emulated"

enum cudaError_t {
    cudaSuccess = 0,
    cudaErrorInvalidValue = 1,
    cudaErrorMemoryAllocation = 2,
    cudaErrorInsufficientDriver = 35,
    cudaErrorInvalidDeviceFunction = 98,
    cudaErrorNoDevice = 100,
    cudaErrorNoKernelImageForDevice = 209,
    cudaErrorUnsupportedPtxVersion = 222,
    cudaErrorNotReady = 600,
    cudaErrorIllegalAddress = 700,
    cudaErrorStreamCaptureUnsupported = 900,
    cudaErrorStreamCaptureInvalidated = 901
};

struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned a = 1, unsigned b = 1, unsigned c = 1) : x(a), y(b), z(c) {
    }
};

namespace emulation {

struct Stream;
struct Event;
struct Graph;

/* A launch: the blocks of a cluster, or of a resident grid, run at the same time. */
enum Together { CLUSTER, RESIDENT };
struct Launch {
    const char *name;
    int order; /* of blocks and threads: 1 to 4 */
    Together together;
    unsigned size; /* blocks at the same time */
    dim3 grid, block;
    size_t shared;
};

/* Name and order of the next launch, which CUDA's own functions have no place for. */
void announce(const char *name, int order);
cudaError_t enqueue_kernel(Stream *stream, Launch launch, const void *kernel,
                           std::function<void()> body);
/* Reads and writes device memory, like a library's kernels. */
cudaError_t enqueue_work(Stream *stream, const char *name, std::function<void()> body);
/* Whether all of it is memory of the device. */
bool on_device(const void *start, size_t bytes);
/* That the function NAME is called: the error that it returns then. */
cudaError_t called(const char *name);
cudaError_t allocate(void **memory, size_t bytes);

} // namespace emulation

typedef emulation::Stream *cudaStream_t;
typedef emulation::Event *cudaEvent_t;
typedef emulation::Graph *cudaGraph_t, *cudaGraphExec_t;

enum { cudaStreamNonBlocking = 1 };
enum cudaMemcpyKind {
    cudaMemcpyHostToDevice = 1,
    cudaMemcpyDeviceToHost = 2,
    cudaMemcpyDeviceToDevice = 3
};
enum cudaStreamCaptureMode { cudaStreamCaptureModeThreadLocal = 1 };
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 };
enum cudaLaunchAttributeID {
    cudaLaunchAttributeCooperative = 2,
    cudaLaunchAttributeClusterDimension = 4
};

struct cudaDeviceProp {
    char name[256];
    size_t totalGlobalMem, sharedMemPerBlockOptin;
    int major, minor, multiProcessorCount, l2CacheSize;
};
struct cudaFuncAttributes {
    int binaryVersion;
};
struct cudaLaunchAttribute {
    cudaLaunchAttributeID id;
    union {
        struct {
            unsigned x, y, z;
        } clusterDim;
        int cooperative;
    } val;
};
struct cudaLaunchConfig_t {
    dim3 gridDim, blockDim;
    size_t dynamicSmemBytes;
    cudaStream_t stream;
    cudaLaunchAttribute *attrs;
    unsigned numAttrs;
};

const char *cudaGetErrorString(cudaError_t error);
cudaError_t cudaGetLastError();
cudaError_t cudaDriverGetVersion(int *version);
cudaError_t cudaGetDeviceCount(int *count);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp *properties, int device);
cudaError_t cudaDeviceGetPCIBusId(char *text, int bytes, int device);
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes *attributes, const void *kernel);
cudaError_t cudaFuncSetAttribute(const void *kernel, cudaFuncAttribute attribute, int value);
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, const void *kernel,
                                                          int threads, size_t shared);

cudaError_t cudaMemGetInfo(size_t *available, size_t *total);
cudaError_t cudaFree(void *memory);
cudaError_t cudaMallocHost(void **memory, size_t bytes);
cudaError_t cudaFreeHost(void *memory);
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream);
cudaError_t cudaMemsetAsync(void *memory, int byte, size_t bytes, cudaStream_t stream);

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode);
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph);
cudaError_t cudaGraphInstantiate(cudaGraphExec_t *launchable, cudaGraph_t graph, unsigned flags);
cudaError_t cudaGraphLaunch(cudaGraphExec_t launchable, cudaStream_t stream);
cudaError_t cudaGraphDestroy(cudaGraph_t graph);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t launchable);

cudaError_t cudaEventCreate(cudaEvent_t *event);
cudaError_t cudaEventDestroy(cudaEvent_t event);
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream);
cudaError_t cudaEventSynchronize(cudaEvent_t event);
cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t first, cudaEvent_t second);

template <class T> cudaError_t cudaMalloc(T **memory, size_t bytes) {
    void *start = nullptr;
    const cudaError_t error = emulation::allocate(&start, bytes);
    *memory = static_cast<T *>(start);
    return error;
}

/* Arguments are copied now and read when the launch runs, each time that a recording is. */
template <class... P, class... A>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t *config, void (*kernel)(P...),
                               A &&...arguments) {
    emulation::Launch launch = {.together = emulation::CLUSTER,
                                .size = 1,
                                .grid = config->gridDim,
                                .block = config->blockDim,
                                .shared = config->dynamicSmemBytes};
    for (unsigned i = 0; i < config->numAttrs; i++) {
        const cudaLaunchAttribute &attribute = config->attrs[i];
        if (attribute.id == cudaLaunchAttributeClusterDimension) {
            launch.size = attribute.val.clusterDim.x;
        } else if (attribute.val.cooperative) {
            launch.together = emulation::RESIDENT;
            launch.size = config->gridDim.x;
        }
    }
    std::tuple<P...> bound(static_cast<P>(arguments)...);
    return emulation::enqueue_kernel(config->stream, launch, reinterpret_cast<const void *>(kernel),
                                     [=] { std::apply(kernel, bound); });
}

#endif
