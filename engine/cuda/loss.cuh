/* The sum that makes a loss of its rows: one block, a fixed order, double precision. */
#ifndef LONGHAUL_CUDA_LOSS_H
#define LONGHAUL_CUDA_LOSS_H

#include "engine/cuda/grid.cuh"

enum { LOSS_THREADS = 1024 };

/* *loss = sum of weights[r] values[r]; a row of weight 0 is not counted, whatever its value. */
KERNEL void __launch_bounds__(LOSS_THREADS)
    sum_weighted(const float *__restrict__ values, const float *__restrict__ weights, int64_t rows,
                 float *loss) {
    __shared__ double space[WARP];
    double sum = 0;
#pragma unroll 8 /* loads in flight */
    for (int64_t r = threadIdx.x; r < rows; r += LOSS_THREADS) {
        const float weight = weights[r], value = values[r];
        sum += (double)weight * (double)(weight != 0.0f ? value : 0.0f);
    }
    sum = block_sum(sum, space);
    if (threadIdx.x == 0) *loss = (float)sum;
}

static inline void weighted_sum(const Run *run, const float *values, const float *weights,
                                int64_t rows, float *loss) {
    LAUNCH(run, sum_weighted, 1, LOSS_THREADS, 0, values, weights, rows, loss);
}

#endif
