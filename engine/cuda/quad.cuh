/* Four lanes that work together: exchanges and sums inside a quad, in a fixed order. */
#ifndef LONGHAUL_CUDA_QUAD_H
#define LONGHAUL_CUDA_QUAD_H

#include "engine/cuda/grid.cuh"

enum { QUAD = 4 };

__device__ static inline float from_lane(float x, unsigned lane) {
    return __shfl_sync(0xFFFFFFFFu, x, lane);
}
__device__ static inline float across(float x, unsigned by) {
    return __shfl_xor_sync(0xFFFFFFFFu, x, by);
}
/* Lanes of a quad are STRIDE apart. */
template <unsigned STRIDE = 1> __device__ static inline float quad_sum(float x) {
    x += across(x, STRIDE);
    return x + across(x, 2 * STRIDE);
}
/* Sums of x[0 .. 3] over the quad; lane i of it receives sum i. */
template <unsigned STRIDE = 1>
__device__ static inline float quad_share(const float x[4], unsigned part) {
    const bool odd = part & 1, high = part & 2;
    const float a = (odd ? x[1] : x[0]) + across(odd ? x[0] : x[1], STRIDE);
    const float b = (odd ? x[3] : x[2]) + across(odd ? x[2] : x[3], STRIDE);
    return (high ? b : a) + across(high ? a : b, 2 * STRIDE);
}

#endif
