/* The grid on the CPU, for tests: what a plain C++ compiler needs to compile kernels. CUDA's own
 * names (threadIdx ...) are ambient, so here they are too: the emulation runs on one thread. */
#ifndef LONGHAUL_CUDA_EMULATION_H
#define LONGHAUL_CUDA_EMULATION_H

#include <algorithm>
#include <cstring>
#include <functional>

#include "engine/cuda/emulated_runtime.h"

#define KERNEL static
#define __device__
#define __host__
#define __forceinline__ inline
#define __shared__ static
#define __launch_bounds__(...)

struct alignas(8) float2 {
    float x, y;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
static inline float2 make_float2(float x, float y) {
    return {x, y};
}
static inline float4 make_float4(float x, float y, float z, float w) {
    return {x, y, z, w};
}

namespace emulation {

/* Most that a lane brings to an exchange: operands of a tensor core. */
enum { LANE_BYTES = 32 };

/* What the lanes of a warp bring to two shuffles. */
struct Shuffles {
    alignas(16) unsigned char of[2][WARP][LANE_BYTES];
};

/* The thread that is running: what CUDA's built-in variables say, and its shared memory. */
struct Thread {
    dim3 thread, block, block_size, grid_size;
    unsigned char *shared;
    Shuffles *shuffles; /* of its warp */
    unsigned rank;      /* of the block in its cluster */
    int parity;         /* of the shuffle: consecutive ones use different space */
};
extern Thread current;

void meet_shuffle();
void meet_warp();
void meet_block();
void meet_cluster();
/* The same place in the shared memory of another block of the cluster. */
unsigned char *in_block(void *own, unsigned rank);
/* A copy happens at once in one order of threads and when it is waited for in the others, so that
 * both a read too early and a write too early change bits. From NULL: zeros. */
void copy_later(void *to, const void *from, size_t bytes);
void copies_commit();
void copies_wait(int pending);
/* Barriers with arrivals (warpgroup.cuh). A bulk copy that need not happen at once happens when
 * somebody waits for it. */
void arrivals_open(uint64_t *barrier, unsigned count);
void arrive(uint64_t *barrier, unsigned expected_bytes);
void await(uint64_t *barrier, unsigned parity);
void copy_bulk(void *to, const void *from, size_t bytes, uint64_t *barrier);
/* Bulk stores, or additions of floats, to device memory: at once or when this thread waits for the
 * reads. What they write is there when it has waited for all of it. */
void write_bulk(float *to, const float *from, size_t bytes, bool add);
void bulk_commit();
void bulk_read();
void bulk_wait(int running);
/* Products of a warpgroup, in groups: done at once or, in the orders in which copies come late,
 * when this thread waits for them. */
void product_later(std::function<void()> product);
void product_reads(const void *at, size_t bytes);
void products_commit();
void products_wait(int running);
/* Counters in device memory (handover.cuh). */
unsigned next_number(unsigned *counter);
void count_up(unsigned *counter);
void await_count(const unsigned *counter, unsigned count);
[[noreturn]] void complain(const char *what);

int meet_block_or(int x); /* whether any thread of the block brings a number other than 0 */

/* Until a block of a resident grid has counted so far; another one may be about to. */
void await_met(const unsigned *counter, unsigned count);

/* Most blocks and threads that run at the same time, and bytes of a block's shared memory. */
enum { MOST_RESIDENT = 32, MOST_FIBRES = 8192, MOST_SHARED = 227 * 1024 };

/* Runs a launch; the body is that of one thread. */
void run_grid(const Launch &launch, const std::function<void()> &body);

} // namespace emulation

inline constexpr dim3 &threadIdx = emulation::current.thread;
inline constexpr dim3 &blockIdx = emulation::current.block;
inline constexpr dim3 &blockDim = emulation::current.block_size;
inline constexpr dim3 &gridDim = emulation::current.grid_size;

static inline void __syncthreads() {
    emulation::meet_block();
}
static inline int __syncthreads_or(int x) {
    return emulation::meet_block_or(x);
}
static inline void __syncwarp() {
    emulation::meet_warp();
}

static inline unsigned emulated_lane() {
    return threadIdx.x % 32;
}

namespace emulation {
/* What every lane of the warp has brought to an exchange. */
template <class T> struct Brought {
    const unsigned char (*from)[LANE_BYTES];
    T operator[](unsigned lane) const {
        T value;
        std::memcpy(&value, from[lane], sizeof value);
        return value;
    }
};

/* Brings x and meets the others. The next exchange but one takes the same space. */
template <class T> inline Brought<T> exchange(const T &x) {
    static_assert(sizeof x <= LANE_BYTES, "space of a lane");
    auto *const space = current.shuffles->of[current.parity ^= 1];
    std::memcpy(space[emulated_lane()], &x, sizeof x);
    meet_shuffle();
    return {space};
}
} // namespace emulation

template <class T> inline T __shfl_sync(unsigned, T value, unsigned from) {
    return emulation::exchange(value)[from % 32];
}
template <class T> inline T __shfl_xor_sync(unsigned mask, T value, unsigned other) {
    return __shfl_sync(mask, value, emulated_lane() ^ other);
}
static inline unsigned __ballot_sync(unsigned, int vote) {
    const auto all = emulation::exchange(vote != 0);
    unsigned votes = 0;
    for (unsigned lane = 0; lane < 32; lane++) votes |= (unsigned)all[lane] << lane;
    return votes;
}
static inline int __ffs(int bits) {
    return __builtin_ffs(bits);
}
/* Lanes whose source is outside the warp keep their own value. */
template <class T> inline T __shfl_up_sync(unsigned mask, T value, unsigned by) {
    return __shfl_sync(mask, value, emulated_lane() < by ? emulated_lane() : emulated_lane() - by);
}
template <class T> inline T __shfl_down_sync(unsigned mask, T value, unsigned by) {
    return __shfl_sync(mask, value,
                       emulated_lane() + by > 31 ? emulated_lane() : emulated_lane() + by);
}

template <class T> inline T *shared_memory() {
    return reinterpret_cast<T *>(emulation::current.shared);
}

/* Blocks of a cluster share no __shared__ arrays here only because none declares any. */
static inline unsigned cluster_rank() {
    return emulation::current.rank;
}
static inline void cluster_sync() {
    emulation::meet_cluster();
}
template <class T> inline T *in_block(T *own, unsigned rank) {
    return reinterpret_cast<T *>(emulation::in_block(own, rank));
}
using std::max;
using std::min;

static inline void sincosf(float x, float *sine, float *cosine, int) {
    *sine = sinf(x);
    *cosine = cosf(x);
}
static inline float rsqrtf(float x) {
    return 1.0f / sqrtf(x);
}

#endif
