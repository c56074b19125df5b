/* The sum that makes a loss of its rows: one block, a fixed order, double precision. */
#ifndef LONGHAUL_CUDA_LOSS_H
#define LONGHAUL_CUDA_LOSS_H

#include "engine/cuda/grid.cuh"

enum { LOSS_THREADS = 1024 };

/* *loss = sum of weights[r] values[r]; a row of weight 0 is not read as a number. */
KERNEL void __launch_bounds__(LOSS_THREADS)
    sum_weighted(const float *values, const float *weights, int64_t rows, float *loss) {
    __shared__ double space[WARP];
    double sum = 0;
    for (int64_t r = threadIdx.x; r < rows; r += LOSS_THREADS)
        if (weights[r] != 0.0f) sum += (double)weights[r] * (double)values[r];
    sum = block_sum(sum, space);
    if (threadIdx.x == 0) *loss = (float)sum;
}

static inline void weighted_sum(const Run *run, const float *values, const float *weights,
                                int64_t rows, float *loss) {
    LAUNCH(run, sum_weighted, 1, LOSS_THREADS, 0, values, weights, rows, loss);
}

#endif
