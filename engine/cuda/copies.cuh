/* Copies from global to shared memory that a thread does not wait for. Several make a group; what a
 * thread has copied is there for it after copy_wait, and for its block after a barrier behind that.
 */
#ifndef LONGHAUL_CUDA_COPIES_H
#define LONGHAUL_CUDA_COPIES_H

#include "engine/cuda/grid.cuh"

#ifdef LONGHAUL_EMULATED
template <class T> static inline void copy_async_if(bool exists, T *to, const void *from) {
    if ((uintptr_t)to % sizeof(T) || (exists && (uintptr_t)from % sizeof(T)))
        emulation::complain("a copy is not aligned");
    emulation::copy_later(to, exists ? from : nullptr, sizeof(T));
}
static inline void copy_async(void *to, const void *from) {
    copy_async_if(true, static_cast<Lanes<4> *>(to), from);
}
static inline void copy_commit() {
    emulation::copies_commit();
}
template <int PENDING> static inline void copy_wait() {
    emulation::copies_wait(PENDING);
}
#else
__device__ static inline uint32_t shared_address(const void *at) {
    return (uint32_t)__cvta_generic_to_shared(at);
}
/* 16 bytes, both sides aligned so, past the first-level cache. */
__device__ static inline void copy_async(void *to, const void *from) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared_address(to)), "l"(from)
                 : "memory");
}
/* A T of 4, 8 or 16 bytes, or zero where there is none. */
template <class T>
__device__ static inline void copy_async_if(bool exists, T *to, const void *from) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(shared_address(to)),
                 "l"(from), "n"(sizeof(T)), "r"(exists ? (int)sizeof(T) : 0)
                 : "memory");
}
/* Ends a group of copies. */
__device__ static inline void copy_commit() {
    asm volatile("cp.async.commit_group;" ::: "memory");
}
/* Waits until at most PENDING groups of this thread are under way. */
template <int PENDING> __device__ static inline void copy_wait() {
    asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory");
}
#endif

/* What is read or written once: the second-level cache gives it up first. */
#ifdef LONGHAUL_EMULATED
static inline float load_once(const float *from) {
    return *from;
}
static inline void store_once(float *to, float x) {
    *to = x;
}
static inline void ask_for(const float *) {
}
#else
__device__ static inline float load_once(const float *from) {
    return __ldcs(from);
}
__device__ static inline void store_once(float *to, float x) {
    __stcs(to, x);
}
/* Brings the 32 bytes around it to the second-level cache; nobody waits. */
__device__ static inline void ask_for(const float *at) {
    asm volatile("prefetch.global.L2 [%0];" ::"l"(at));
}
#endif

/* Waits for all copies of this thread. */
__device__ static inline void wait_copies() {
    copy_commit();
    copy_wait<0>();
}

#endif
