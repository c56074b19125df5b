#include "engine/ops/long_convolution_step/long_convolution_step.h"

#include "engine/cuda/grid.cuh"

/* 32 channels side by side (coalesced) and 8 stretches of the past a block, added in order. */
enum { CHANNELS = WARP, STRETCHES = 8, THREADS = CHANNELS * STRETCHES };

KERNEL void __launch_bounds__(THREADS)
    step(const float *__restrict__ cache, const float *__restrict__ filter,
         const float *__restrict__ skip, const int32_t *position, float *y, int64_t L, int64_t D,
         int64_t K) {
    __shared__ float sums[STRETCHES][CHANNELS];
    const int lane = (int)threadIdx.x % CHANNELS, stretch = (int)threadIdx.x / CHANNELS;
    const int64_t b = blockIdx.y, c = (int64_t)blockIdx.x * CHANNELS + lane, now = position[0];
    const int64_t row = now % L;
    const float *x = cache + b * L * D + c;
    float sum = 0;
    for (int64_t k = stretch; c < D && k < K && k <= now; k += STRETCHES)
        sum += filter[k * D + c] * x[(k <= row ? row - k : row - k + L) * D];
    sums[stretch][lane] = sum;
    __syncthreads();
    if (stretch > 0 || c >= D) return;
    for (int s = 1; s < STRETCHES; s++) sum += sums[s][lane];
    y[b * D + c] = sum + skip[c] * x[row * D];
}

static void forward(const OpCall *call, const Run *run) {
    const Tensor *cache = call->in[0];
    const int64_t D = extent(cache, 2);
    LAUNCH(run, step, dim3(blocks_for(D, CHANNELS), (unsigned)extent(cache, 0)), THREADS, 0,
           cache->data, call->in[1]->data, call->in[2]->data, call->in[3]->integers,
           call->out[0]->data, extent(cache, 1), D, extent(call->in[1], 0));
}

CUDA_OP(long_convolution_step, {forward, NULL}, NULL);
