/* One device and its memory, streams whose work waits, recordings: see emulated_runtime.h. */
#include "engine/cuda/emulated_runtime.h"

#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <string>
#include <sys/mman.h>
#include <vector>

#include "engine/cuda/grid.cuh"
#include "engine/cuda/races.h"

namespace emulation {

/* Something enqueued. */
struct Item {
    const char *name;
    std::function<void()> body;
    const void *host; /* memory of the host that it touches, or NULL */
    size_t host_bytes;
    Event *event; /* that has happened then, or NULL */
};
struct Graph {
    std::vector<Item> items;
};
struct Stream {
    std::deque<Item> queue;
    Graph *recording = nullptr;
    bool spoiled = false; /* the recording: something that cannot be recorded was asked for */
};
struct Event {
    Stream *stream = nullptr;
    int outstanding = 0; /* records that have not run */
    double seconds = NAN;
};

namespace {

enum { PAGE = 4096, MOST_ENQUEUED = 1024, ASKED_SHARED = 48 * 1024 };
constexpr size_t MEMORY = (size_t)1 << 32; /* as much as tests are given */

typedef std::map<const unsigned char *, size_t> Ranges; /* start, bytes */

bool within(const Ranges &ranges, const void *start, size_t bytes) {
    const unsigned char *const at = static_cast<const unsigned char *>(start);
    auto range = ranges.upper_bound(at);
    if (range == ranges.begin()) return false;
    --range;
    return at + bytes <= range->first + range->second;
}

struct Failure {
    std::string name;
    int count = 0; /* until it comes */
    cudaError_t error = cudaSuccess;
};
Failure failure_asked_for() {
    Failure failure;
    const char *text = std::getenv("LONGHAUL_EMULATED_FAILURE");
    char name[128];
    int count = 0, error = 0;
    if (!text) return failure;
    if (std::sscanf(text, "%d %d %127[^\n]", &count, &error, name) != 3 || count < 1 || error < 1) {
        std::fprintf(stderr, "LONGHAUL_EMULATED_FAILURE: expected COUNT ERROR NAME, found '%s'\n",
                     text);
        std::abort();
    }
    return {name, count, static_cast<cudaError_t>(error)};
}

/* What CUDA keeps for a process. */
struct Runtime {
    Ranges device, pinned;
    size_t used = 0;
    std::vector<Stream *> streams;
    std::map<const void *, size_t> shared_asked; /* bytes, of kernels that need not ask again */
    Failure failure = failure_asked_for();
    cudaError_t sticky = cudaSuccess;
    bool at_once = std::getenv("CUDA_LAUNCH_BLOCKING") != nullptr;
    const char *name = ""; /* announced */
    int order = 1;
};
Runtime runtime;

[[noreturn]] void refuse(const char *what, const char *why) {
    std::fprintf(stderr, "emulated CUDA runtime: %s: %s\n", what, why);
    std::abort();
}

/* Whether the failure that was asked for comes now. */
bool fails_now(const char *name) {
    return runtime.failure.name == name && --runtime.failure.count == 0;
}

/* Memory of the device can only be touched while something runs, so that host code which reads it
 * by mistake fails in the tests as it would on a GPU. */
class Opened {
  public:
    Opened() {
        protect(PROT_READ | PROT_WRITE);
    }
    ~Opened() {
        protect(PROT_NONE);
    }
    Opened(const Opened &) = delete;
    Opened &operator=(const Opened &) = delete;

  private:
    static void protect(int protection) {
        for (const auto &[start, bytes] : runtime.device)
            if (mprotect(const_cast<unsigned char *>(start), bytes, protection) != 0)
                refuse("mprotect", std::strerror(errno));
    }
};

void run_first(Stream *stream) {
    const Item item = std::move(stream->queue.front());
    stream->queue.pop_front();
    if (runtime.sticky == cudaSuccess && fails_now(item.name))
        runtime.sticky = runtime.failure.error;
    if (item.host && !within(runtime.pinned, item.host, item.host_bytes))
        refuse(item.name, "the host's memory was freed before it ran");
    if (runtime.sticky == cudaSuccess && item.body) item.body();
    if (!item.event) return;
    item.event->outstanding--;
    item.event->seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

void drain(Stream *stream) {
    if (stream->queue.empty()) return;
    const Opened opened;
    while (!stream->queue.empty()) run_first(stream);
}
void drain_all() {
    for (Stream *stream : runtime.streams) drain(stream);
}

/* What may not be asked for while a stream records. */
cudaError_t called_outside(const char *name) {
    for (Stream *stream : runtime.streams) {
        if (!stream->recording) continue;
        stream->spoiled = true;
        return cudaErrorStreamCaptureUnsupported;
    }
    return called(name);
}

cudaError_t enqueue(Stream *stream, Item item) {
    if (runtime.sticky != cudaSuccess) return runtime.sticky;
    if (stream->recording) {
        stream->recording->items.push_back(std::move(item));
        return cudaSuccess;
    }
    stream->queue.push_back(std::move(item));
    if (runtime.at_once) drain(stream);
    if (stream->queue.size() > MOST_ENQUEUED) {
        const Opened opened;
        run_first(stream);
    }
    return runtime.sticky;
}

} // namespace

cudaError_t called(const char *name) {
    if (runtime.sticky != cudaSuccess) return runtime.sticky;
    return fails_now(name) ? runtime.failure.error : cudaSuccess;
}

bool on_device(const void *start, size_t bytes) {
    return within(runtime.device, start, bytes);
}

void announce(const char *name, int order) {
    runtime.name = name;
    runtime.order = order;
}

cudaError_t enqueue_work(Stream *stream, const char *name, std::function<void()> body) {
    return enqueue(stream, {name, std::move(body), nullptr, 0, nullptr});
}

cudaError_t enqueue_kernel(Stream *stream, Launch launch, const void *kernel,
                           std::function<void()> body) {
    launch.name = runtime.name;
    launch.order = runtime.order;
    const auto asked = runtime.shared_asked.find(kernel);
    const size_t most = asked == runtime.shared_asked.end() ? (size_t)ASKED_SHARED : asked->second;
    if (launch.shared > most) return cudaErrorInvalidValue;
    return enqueue_work(stream, launch.name, [launch, body] { run_grid(launch, body); });
}

cudaError_t allocate(void **memory, size_t bytes) {
    const cudaError_t error = called_outside("cudaMalloc");
    if (error != cudaSuccess) return error;
    const size_t whole = (bytes / PAGE + 1) * PAGE;
    if (whole > MEMORY - runtime.used) return cudaErrorMemoryAllocation;
    void *start =
        mmap(nullptr, whole, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (start == MAP_FAILED) return cudaErrorMemoryAllocation;
    runtime.device[static_cast<unsigned char *>(start)] = whole;
    runtime.used += whole;
    races::watch_device(start, whole);
    *memory = start;
    return cudaSuccess;
}

} // namespace emulation

using namespace emulation;

/* ---- the device ---- */

const char *cudaGetErrorString(cudaError_t error) {
    switch (error) {
    case cudaSuccess:
        return "no error";
    case cudaErrorInvalidValue:
        return "invalid argument";
    case cudaErrorMemoryAllocation:
        return "out of memory";
    case cudaErrorIllegalAddress:
        return "an illegal memory access was encountered";
    case cudaErrorStreamCaptureUnsupported:
        return "operation not permitted when stream is capturing";
    case cudaErrorStreamCaptureInvalidated:
        return "operation failed due to a previous error during capture";
    default:
        return "unknown error";
    }
}

cudaError_t cudaGetLastError() {
    return runtime.sticky;
}

cudaError_t cudaDriverGetVersion(int *version) {
    *version = CUDART_VERSION;
    return cudaSuccess;
}

cudaError_t cudaGetDeviceCount(int *count) {
    *count = 1;
    return called("cudaGetDeviceCount");
}

cudaError_t cudaSetDevice(int) {
    return called("cudaSetDevice");
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp *properties, int) {
    *properties = {.name = "CUDA kernels emulated on the CPU",
                   .totalGlobalMem = MEMORY,
                   .sharedMemPerBlockOptin = MOST_SHARED,
                   .major = 9,
                   .minor = 0,
                   .multiProcessorCount = 1,
                   .l2CacheSize = 1 << 16};
    return called("cudaGetDeviceProperties");
}

cudaError_t cudaDeviceGetPCIBusId(char *text, int, int) {
    text[0] = '\0'; /* no driver's tool knows it */
    return cudaSuccess;
}

cudaError_t cudaFuncGetAttributes(cudaFuncAttributes *attributes, const void *) {
    *attributes = {90};
    return called("cudaFuncGetAttributes");
}

cudaError_t cudaFuncSetAttribute(const void *kernel, cudaFuncAttribute, int value) {
    if (value > (int)MOST_SHARED) return cudaErrorInvalidValue;
    runtime.shared_asked[kernel] = (size_t)value;
    return called("cudaFuncSetAttribute");
}

cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, const void *, int threads,
                                                          size_t) {
    *blocks = std::min<int>(MOST_RESIDENT, MOST_FIBRES / threads);
    return called("cudaOccupancyMaxActiveBlocksPerMultiprocessor");
}

/* ---- memory ---- */

cudaError_t cudaMemGetInfo(size_t *available, size_t *total) {
    *total = MEMORY;
    *available = MEMORY - runtime.used;
    return called("cudaMemGetInfo");
}

cudaError_t cudaFree(void *memory) {
    const cudaError_t error = called_outside("cudaFree");
    if (!memory || error == cudaErrorStreamCaptureUnsupported) return error;
    drain_all();
    const auto range = runtime.device.find(static_cast<unsigned char *>(memory));
    if (range == runtime.device.end()) return cudaErrorInvalidValue;
    races::forget_device(memory);
    munmap(memory, range->second);
    runtime.used -= range->second;
    runtime.device.erase(range);
    return error;
}

cudaError_t cudaMallocHost(void **memory, size_t bytes) {
    const cudaError_t error = called_outside("cudaMallocHost");
    if (error != cudaSuccess) return error;
    *memory = std::aligned_alloc(PAGE, (bytes / PAGE + 1) * PAGE);
    if (!*memory) return cudaErrorMemoryAllocation;
    std::memset(*memory, 0xFF, bytes);
    runtime.pinned[static_cast<unsigned char *>(*memory)] = bytes;
    return cudaSuccess;
}

cudaError_t cudaFreeHost(void *memory) {
    if (!runtime.pinned.erase(static_cast<unsigned char *>(memory))) return cudaErrorInvalidValue;
    std::free(memory);
    return called("cudaFreeHost");
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
    const cudaError_t error = called("cudaMemcpyAsync");
    if (error != cudaSuccess) return error;
    const bool read = kind == cudaMemcpyHostToDevice, written = kind == cudaMemcpyDeviceToHost;
    if ((!read && !on_device(from, bytes)) || (!written && !on_device(to, bytes)))
        return cudaErrorInvalidValue;
    const void *const host = read ? from : written ? to : nullptr;
    if (host && !within(runtime.pinned, host, bytes))
        refuse("a copy", "the host's memory is not pinned, so the host would wait for it");
    return enqueue(stream, {"copy", [=] { std::memmove(to, from, bytes); }, host, bytes, nullptr});
}

cudaError_t cudaMemsetAsync(void *memory, int byte, size_t bytes, cudaStream_t stream) {
    const cudaError_t error = called("cudaMemsetAsync");
    if (error != cudaSuccess) return error;
    if (!on_device(memory, bytes)) return cudaErrorInvalidValue;
    return enqueue_work(stream, "zeroing", [=] { std::memset(memory, byte, bytes); });
}

/* ---- streams ---- */

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned) {
    const cudaError_t error = called("cudaStreamCreateWithFlags");
    if (error != cudaSuccess) return error;
    *stream = new Stream();
    runtime.streams.push_back(*stream);
    return error;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
    drain(stream);
    std::erase(runtime.streams, stream);
    delete stream;
    return called("cudaStreamDestroy");
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
    const cudaError_t error = called_outside("cudaStreamSynchronize");
    if (error != cudaSuccess) return error;
    drain(stream);
    return runtime.sticky;
}

/* ---- recordings ---- */

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
    const cudaError_t error = called_outside("cudaStreamBeginCapture");
    if (error != cudaSuccess) return error;
    stream->recording = new Graph();
    stream->spoiled = false;
    return error;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph) {
    *graph = stream->recording;
    stream->recording = nullptr;
    const cudaError_t error = called("cudaStreamEndCapture");
    if (error == cudaSuccess && !stream->spoiled) return error;
    delete *graph;
    *graph = nullptr;
    return error != cudaSuccess ? error : cudaErrorStreamCaptureInvalidated;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *launchable, cudaGraph_t graph, unsigned) {
    const cudaError_t error = called("cudaGraphInstantiate");
    if (error == cudaSuccess) *launchable = new Graph(*graph);
    return error;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t launchable, cudaStream_t stream) {
    cudaError_t error = called("cudaGraphLaunch");
    for (const Item &item : launchable->items)
        if (error == cudaSuccess) error = enqueue(stream, item);
    return error;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
    delete graph;
    return called("cudaGraphDestroy");
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t launchable) {
    delete launchable;
    return called("cudaGraphExecDestroy");
}

/* ---- events ---- */

cudaError_t cudaEventCreate(cudaEvent_t *event) {
    *event = new Event();
    return called("cudaEventCreate");
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
    if (event->stream) drain(event->stream);
    delete event;
    return called("cudaEventDestroy");
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
    const cudaError_t error = called_outside("cudaEventRecord"); /* no event is recorded here */
    if (error != cudaSuccess) return error;
    event->stream = stream;
    event->outstanding++;
    return enqueue(stream, {"event", nullptr, nullptr, 0, event});
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
    const cudaError_t error = called_outside("cudaEventSynchronize");
    if (error != cudaSuccess) return error;
    if (event->outstanding) {
        const Opened opened;
        while (event->outstanding) run_first(event->stream);
    }
    return runtime.sticky;
}

cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t first, cudaEvent_t second) {
    if (first->outstanding || second->outstanding) return cudaErrorNotReady;
    *milliseconds = static_cast<float>(1e3 * (second->seconds - first->seconds));
    return called("cudaEventElapsedTime");
}
