#include "engine/ops/diagonal_step/diagonal_step.h"

#include "engine/cuda/grid.cuh"

enum { THREADS = 128 };

/* A warp for each channel of each sequence, lanes over the modes. */
KERNEL void __launch_bounds__(THREADS)
    step(const float *__restrict__ u, const float *__restrict__ modes,
         const float *__restrict__ skip, float *state, float *y, int64_t channels, int64_t D,
         int64_t M) {
    const int64_t i = global_thread() / WARP;
    const int lane = (int)threadIdx.x % WARP;
    const bool inside = i < channels; /* whole warps, so that all lanes reach the sum */
    const float input = inside ? u[i] : 0;
    float sum = 0;
    for (int64_t n = lane; inside && n < M; n += WARP) {
        const float *mode = modes + 4 * (i % D) * M + n;
        float *re = state + 2 * i * M + n, *im = re + M;
        const float x = *re, z = *im;
        *re = mode[0] * x - mode[M] * z + input;
        *im = mode[0] * z + mode[M] * x;
        sum += mode[2 * M] * *re + mode[3 * M] * *im;
    }
    sum = warp_sum(sum);
    if (inside && lane == 0) y[i] = sum + (skip ? skip[i % D] * input : 0.0f);
}

static void forward(const OpCall *call, const Run *run) {
    const Tensor *u = call->in[DIAGONAL_STEP_U];
    const int64_t channels = tensor_size(u);
    LAUNCH(run, step, blocks_for(channels * WARP, THREADS), THREADS, 0, u->data,
           call->in[DIAGONAL_STEP_MODES]->data, data_of(call, DIAGONAL_STEP_SKIP),
           call->out[0]->data, call->out[1]->data, channels, extent(u, 2),
           extent(call->in[DIAGONAL_STEP_MODES], 2));
}

CUDA_OP(diagonal_step, {forward, NULL}, NULL);
