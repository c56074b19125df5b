/* Kernels are written once. nvcc compiles them for the device; a plain C++ compiler compiles the
 * same bodies, with LONGHAUL_EMULATED, against an emulation of the grid on the CPU: blocks one
 * after the other, the threads of a block as fibres that meet at barriers and shuffles. That is how
 * every kernel is tested on machines without a GPU.
 *
 * What a kernel may use: threadIdx, blockIdx, blockDim, gridDim (x, y, z), __syncthreads, shuffles
 * of whole warps, __shared__ arrays, shared_memory<T>() for what the launch asks for, in clusters
 * cluster_rank, cluster_sync and in_block, and the functions below. Blocks and threads have no
 * order: the emulation runs them forwards, backwards or mixed, by the number of threads in the Run,
 * and results must have the same bits. */
#ifndef LONGHAUL_CUDA_GRID_H
#define LONGHAUL_CUDA_GRID_H

#include <cmath>
#include <cstddef>
#include <cstdint>

#include "engine/cuda/library.h"
#include "engine/op.h"

enum { WARP = 32 };

/* The numbers of a replay that change from one to the next; in device memory, so that a recorded
 * replay reads the new ones. */
struct RunValues {
    uint64_t seed, pass;
};

/* What the library keeps from open to close; GpuState (engine/cuda/device_state.h) appends to it.
 * Run.device points at a pointer to it. */
struct CudaState {
    RunValues *values; /* in device memory, like the next two */
    double *partials;  /* of the gradient norm */
    struct NormResult *norm;
    int processors;     /* multiprocessors, and bytes of the last cache: the backend sets */
    size_t cache_bytes; /* both when it opens */
    void *cold;         /* twice that, once a cache was to be emptied */
};
static inline CudaState *state_of(const Run *run) {
    return *static_cast<CudaState *const *>(run->device);
}
static inline const RunValues *run_values(const Run *run) {
    return state_of(run)->values;
}

#ifdef LONGHAUL_EMULATED
#include "engine/cuda/emulation.h"
#else
#include <cuda_runtime.h>

#define KERNEL static __global__ /* names may repeat from file to file */

template <class T> __device__ inline T *shared_memory() {
    extern __shared__ __align__(16) unsigned char longhaul_shared[];
    return reinterpret_cast<T *>(longhaul_shared);
}

/* Clusters: blocks that run at the same time and reach each other's shared memory. in_block: the
 * same place there. A block must not end, nor be written to, while others may not have begun: sync
 * first and last. Compute capability 9.0; most_cluster says how many blocks may be asked for. */
__device__ static inline unsigned cluster_rank() {
    unsigned rank = 0;
#if defined __CUDA_ARCH__ && __CUDA_ARCH__ >= 900
    asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
#endif
    return rank;
}
__device__ static inline void cluster_sync() {
#if defined __CUDA_ARCH__ && __CUDA_ARCH__ >= 900
    asm volatile("barrier.cluster.arrive.release;\n"
                 "barrier.cluster.wait.acquire;" ::
                     : "memory");
#else
    __trap();
#endif
}
template <class T> __device__ inline T *in_block(T *own, unsigned rank) {
#if defined __CUDA_ARCH__ && __CUDA_ARCH__ >= 900
    T *other;
    asm("mapa.u64 %0, %1, %2;" : "=l"(other) : "l"(own), "r"(rank));
    return other;
#else
    return own + rank * 0;
#endif
}
#endif

unsigned most_cluster(const Run *run);
/* Bytes of shared memory that a block may ask for at its launch. */
size_t most_shared(const Run *run);
/* Whether the GPU runs code for sm_90a (warpgroup.cuh). */
bool has_warpgroup_products(const Run *run);

cudaStream_t stream_of(const Run *run);
/* Keeps the first error of a launch together with the kernel's name. */
void note_launch(const Run *run, const char *kernel, cudaError_t error);

/* A launch with an attribute, or NULL. */
template <class... P, class... A>
void launch_with(const cudaLaunchAttribute *attribute, const char *name, const Run *run,
                 void (*kernel)(P...), dim3 grid, dim3 block, size_t shared, A... arguments) {
    cudaLaunchAttribute own = attribute ? *attribute : cudaLaunchAttribute{};
    cudaLaunchConfig_t config = {};
    config.gridDim = grid;
    config.blockDim = block;
    config.dynamicSmemBytes = shared;
    config.stream = stream_of(run);
    config.attrs = &own;
    config.numAttrs = attribute != NULL;
    cudaError_t error = cudaSuccess;
    if (shared > 48 * 1024) /* beyond this a kernel must ask */
        error = cudaFuncSetAttribute(reinterpret_cast<const void *>(kernel),
                                     cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shared);
#ifdef LONGHAUL_EMULATED
    emulation::announce(name, run->threads);
#endif
    if (error == cudaSuccess)
        error = cudaLaunchKernelEx(&config, kernel, static_cast<P>(arguments)...);
    note_launch(run, name, error);
}

template <class... P, class... A>
void launch_named(const char *name, const Run *run, void (*kernel)(P...), A... rest) {
    launch_with(NULL, name, run, kernel, rest...);
}

template <class... P, class... A>
void launch_cluster(const char *name, const Run *run, void (*kernel)(P...), unsigned cluster,
                    A... rest) {
    cudaLaunchAttribute attribute = {};
    attribute.id = cudaLaunchAttributeClusterDimension;
    attribute.val.clusterDim.x = cluster;
    attribute.val.clusterDim.y = attribute.val.clusterDim.z = 1;
    /* older GPUs know no such attribute */
    launch_with(cluster > 1 ? &attribute : NULL, name, run, kernel, rest...);
}

template <class... P, class... A>
void launch_resident(const char *name, const Run *run, void (*kernel)(P...), A... rest) {
    cudaLaunchAttribute attribute = {};
    attribute.id = cudaLaunchAttributeCooperative;
    attribute.val.cooperative = 1;
    launch_with(&attribute, name, run, kernel, rest...);
}

unsigned resident_blocks_of(const Run *run, const void *kernel, unsigned threads, size_t shared);
template <class... P>
unsigned resident_blocks(const Run *run, void (*kernel)(P...), unsigned threads, size_t shared) {
    return resident_blocks_of(run, reinterpret_cast<const void *>(kernel), threads, shared);
}

/* LAUNCH(run, (kernel<int>), grid, block, bytes of shared memory, arguments...) */
#define LAUNCH(run, kernel, ...) launch_named(#kernel, run, kernel, __VA_ARGS__)
/* The same with blocks of a cluster, side by side along x, before the grid. */
#define LAUNCH_CLUSTER(run, kernel, ...) launch_cluster(#kernel, run, kernel, __VA_ARGS__)
/* LAUNCH of a grid whose blocks all run at the same time, so that they may wait for each other
 * (meet in handover.cuh): at most resident_blocks(run, kernel, threads, bytes of shared memory). */
#define LAUNCH_RESIDENT(run, kernel, ...) launch_resident(#kernel, run, kernel, __VA_ARGS__)

/* Blocks of `size` that cover n. */
static inline unsigned blocks_for(int64_t n, int64_t size) {
    return (unsigned)((n + size - 1) / size);
}

__device__ static inline int64_t global_thread() {
    return (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
}

/* Neighbouring floats, moved by one access of up to 16 bytes. Tensors, gradients, parameters and
 * parts of scratch begin at multiples of 64 bytes, so Lanes<4> may read them from any multiple of
 * four on. */
template <int V> struct alignas(4 * V) Lanes { float of[V]; };
template <int V> __device__ static inline Lanes<V> load(const float *p) {
    return *reinterpret_cast<const Lanes<V> *>(p);
}
template <int V> __device__ static inline void store(float *p, const Lanes<V> &x) {
    *reinterpret_cast<Lanes<V> *>(p) = x;
}

/* The compiler moves no load of what may be written across it: those before are asked for together,
 * whatever waits behind. */
__device__ static inline void loads_asked_for() {
    asm volatile("" ::: "memory");
}

/* Four floats of device memory by one access, aligned so, where the compiler would make several of
 * what is written without saying so. */
#ifdef LONGHAUL_EMULATED
static inline void store_four(float *to, const float x[4]) {
    store<4>(to, {{x[0], x[1], x[2], x[3]}});
}
#else
__device__ static inline void store_four(float *to, const float x[4]) {
    asm volatile("st.global.v4.f32 [%0], {%1, %2, %3, %4};" ::"l"(__cvta_generic_to_global(to)),
                 "f"(x[0]), "f"(x[1]), "f"(x[2]), "f"(x[3])
                 : "memory");
}
#endif

/* Quotients by a number that is known at the launch: a multiplication and a shift instead of the
 * hundred instructions of a 64-bit division (Granlund and Montgomery 1994). With m the quotient
 * 2^(31 + s) / d rounded up and s = ceil(log2 d), n m / 2^(31 + s) errs by less than 1 / d for n
 * below 2^31; above that it divides. */
struct Divisor {
    int64_t d;
    uint32_t m;
    int shift; /* s - 1 */

    __device__ int64_t of(int64_t n) const {
        if (n >= (int64_t)1 << 31) return n / d;
        return d == 1 ? n : (int64_t)((uint64_t)(uint32_t)n * m >> 32 >> shift);
    }
};
static inline Divisor divide_by(int64_t d) {
    int s = 0;
    while (s < 31 && (int64_t)1 << s < d) s++;
    const uint64_t power = (uint64_t)1 << (31 + s), most = (uint64_t)d;
    return {d, (uint32_t)((power + most - 1) / most), s > 0 ? s - 1 : 0};
}

/* body(i) for i = 0 .. n-1, a thread each. */
enum { EACH_THREADS = 256 };
template <class Body> KERNEL void __launch_bounds__(EACH_THREADS) each(Body body, int64_t n) {
    const int64_t i = global_thread();
    if (i < n) body(i);
}
template <class Body> void for_each(const Run *run, int64_t n, Body body) {
    if (n > 0) LAUNCH(run, each<Body>, blocks_for(n, EACH_THREADS), EACH_THREADS, 0, body, n);
}

/* Sum and maximum over a warp, in every lane, always in the same order. */
__device__ static inline float warp_sum(float x) {
    for (int offset = WARP / 2; offset > 0; offset /= 2)
        x += __shfl_xor_sync(0xFFFFFFFFu, x, offset);
    return x;
}

__device__ static inline double warp_sum(double x) {
    for (int offset = WARP / 2; offset > 0; offset /= 2)
        x += __shfl_xor_sync(0xFFFFFFFFu, x, offset);
    return x;
}

__device__ static inline float warp_max(float x) {
    for (int offset = WARP / 2; offset > 0; offset /= 2)
        x = fmaxf(x, __shfl_xor_sync(0xFFFFFFFFu, x, offset));
    return x;
}

/* Sum over a block of up to 32 warps, in every thread. space: 32 numbers of shared memory. */
template <class T> __device__ inline T block_sum(T x, T *space) {
    const unsigned warps = (blockDim.x + WARP - 1) / WARP, warp = threadIdx.x / WARP;
    x = warp_sum(x);
    __syncthreads(); /* the space may still be read from the last time */
    if (threadIdx.x % WARP == 0) space[warp] = x;
    __syncthreads();
    T sum = 0;
    for (unsigned i = 0; i < warps; i++) sum += space[i];
    return sum;
}

/* gradient = value or gradient += value, as the call says. */
__device__ static inline void put(float *gradient, float value, bool accumulate) {
    *gradient = accumulate ? *gradient + value : value;
}

template <int V>
__device__ static inline void put(float *gradient, Lanes<V> value, bool accumulate) {
    if (accumulate) {
        const Lanes<V> before = load<V>(gradient);
        for (int v = 0; v < V; v++) value.of[v] = before.of[v] + value.of[v];
    }
    store<V>(gradient, value);
}

/* The gradient of in[i] when backward must write it, else NULL. */
static inline float *gradient_of(const OpCall *call, int i) {
    return input_of(call, i) && !call->passed[i] ? input_of(call, i)->gradient : NULL;
}

/* Scratch is one block; a kernel takes its parts from the front, 256 bytes apart. */
struct Carver {
    unsigned char *next;
    template <class T> T *take(int64_t count) {
        T *part = reinterpret_cast<T *>(next);
        next += ((size_t)count * sizeof(T) + 255) / 256 * 256;
        return part;
    }
};
static inline size_t carved(int64_t count, size_t size) {
    return ((size_t)count * size + 255) / 256 * 256;
}

/* Declares the entry of an operation in the library's table. */
#define CUDA_OP(name, ...)                                                                         \
    extern "C" const CudaOp cuda_op_##name;                                                        \
    const CudaOp cuda_op_##name = {#name, __VA_ARGS__}

#endif
