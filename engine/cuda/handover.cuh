/* Blocks of one launch that hand work on to others. In any grid a block takes a number, and waits
 * (await_count) only for blocks of smaller numbers: those have begun, whatever order the hardware
 * starts blocks in, so they end without waiting for a block that has no room yet. In a resident
 * grid (LAUNCH_RESIDENT) any block may wait for any other (meet). Who waits and for how long
 * changes no result: what is read is complete. Counters are zeroed before the launch. */
#ifndef LONGHAUL_CUDA_HANDOVER_H
#define LONGHAUL_CUDA_HANDOVER_H

#include "engine/cuda/grid.cuh"

#ifdef LONGHAUL_EMULATED
using emulation::await_count;
using emulation::await_met;
using emulation::count_up;
using emulation::next_number;
#else
__device__ static inline unsigned next_number(unsigned *counter) {
    return atomicAdd(counter, 1u);
}
/* What this thread wrote, or saw others write before a barrier, is there for who awaits the count.
 */
__device__ static inline void count_up(unsigned *counter) {
    asm volatile("red.release.gpu.global.add.u32 [%0], 1;" ::"l"(counter) : "memory");
}
__device__ static inline unsigned count_so_far(const unsigned *counter) {
    unsigned now;
    asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(now) : "l"(counter) : "memory");
    return now;
}
__device__ static inline void await_count(const unsigned *counter, unsigned count) {
    while (count_so_far(counter) < count) __nanosleep(64);
}
__device__ static inline void await_met(const unsigned *counter, unsigned count) {
    while (count_so_far(counter) < count) {
    }
}
#endif

/* The block's number, for all its threads. */
__device__ static inline unsigned take_number(unsigned *counter) {
    __shared__ unsigned number;
    if (threadIdx.x == 0) number = next_number(counter);
    __syncthreads();
    return number;
}
/* All threads of the block have written what the counter counts. */
__device__ static inline void hand_over(unsigned *counter) {
    __syncthreads();
    if (threadIdx.x == 0) count_up(counter);
}
/* In a resident grid: all threads wait until so many blocks, of any number, have handed over. Not
 * for long, so without sleeping in between. */
__device__ static inline void meet(const unsigned *counter, unsigned count) {
    if (threadIdx.x == 0) await_met(counter, count);
    __syncthreads();
}

#endif
