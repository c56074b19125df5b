/* Passes over all elements of tensors, four neighbours to a thread: loads and stores of 16 bytes.
 */
#ifndef LONGHAUL_CUDA_ELEMENTS_H
#define LONGHAUL_CUDA_ELEMENTS_H

#include "engine/cuda/grid.cuh"

enum { FOUR = 4 };
typedef Lanes<FOUR> Four;

/* Numbers first .. first+3 of n, or as many as there are; zeros where there is no tensor. */
__device__ static inline Four some(const float *p, int64_t first, int64_t n) {
    if (p && first + FOUR <= n) return load<FOUR>(p + first);
    Four x = {};
    for (int e = 0; e < FOUR; e++)
        if (p && first + e < n) x.of[e] = p[first + e];
    return x;
}
/* The same way back: p = x or p += x. */
__device__ static inline void put_some(float *p, int64_t first, int64_t n, const Four &x,
                                       bool accumulate) {
    Four sum = x;
    if (accumulate) {
        const Four before = some(p, first, n);
        for (int e = 0; e < FOUR; e++) sum.of[e] = before.of[e] + x.of[e];
    }
    if (first + FOUR <= n) {
        store<FOUR>(p + first, sum);
        return;
    }
    for (int e = 0; e < FOUR; e++)
        if (first + e < n) p[first + e] = sum.of[e];
}

/* body(first) for first = 0, 4, 8 ... below n. */
template <class Body> void for_each_four(const Run *run, int64_t n, Body body) {
    for_each(run, (n + FOUR - 1) / FOUR, [=] __device__(int64_t i) { body(i * FOUR); });
}

#endif
