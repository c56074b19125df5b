#include "engine/ops/pool/pool.h"

#include "engine/cuda/grid.cuh"

/* 32 channels side by side and 8 stretches of the time, added in order. */
enum { CHANNELS = WARP, STRETCHES = 8, THREADS = CHANNELS * STRETCHES };

KERNEL void __launch_bounds__(THREADS) pooled(const float *__restrict__ x, const int32_t *lengths,
                                              float *y, int64_t L, int64_t D, bool only_last) {
    __shared__ float sums[STRETCHES][CHANNELS];
    const int lane = (int)threadIdx.x % CHANNELS, stretch = (int)threadIdx.x / CHANNELS;
    const int64_t b = blockIdx.y, c = (int64_t)blockIdx.x * CHANNELS + lane;
    const int64_t length = lengths ? lengths[b] : L, first = only_last ? length - 1 : 0;
    float sum = 0;
#pragma unroll 8 /* loads in flight */
    for (int64_t t = first + stretch; c < D && t < length; t += STRETCHES)
        sum += x[(b * L + t) * D + c];
    sums[stretch][lane] = sum;
    __syncthreads();
    if (stretch > 0 || c >= D) return;
    for (int s = 1; s < STRETCHES; s++) sum += sums[s][lane];
    y[b * D + c] = sum / (float)(length - first);
}

static bool is_last(const OpCall *call) {
    return static_cast<const Pool *>(call->attributes)->pooling == POOL_LAST;
}

static void forward(const OpCall *call, const Run *run) {
    const Tensor *x = call->in[0];
    const int64_t D = extent(x, 2);
    LAUNCH(run, pooled, dim3(blocks_for(D, CHANNELS), (unsigned)extent(x, 0)), THREADS, 0, x->data,
           input_of(call, 1) ? call->in[1]->integers : NULL, call->out[0]->data, extent(x, 1), D,
           is_last(call));
}

static void backward(const OpCall *call, const Run *run) {
    float *const dx = gradient_of(call, 0);
    if (!dx) return;
    const float *dy = call->out[0]->gradient;
    const int32_t *lengths = input_of(call, 1) ? call->in[1]->integers : NULL;
    const int64_t L = extent(call->in[0], 1), D = extent(call->in[0], 2);
    const bool only_last = is_last(call), accumulate = call->accumulate[0];
    const Divisor channels = divide_by(D), steps = divide_by(L);
    for_each(run, tensor_size(call->in[0]), [=] __device__(int64_t i) {
        const int64_t row = channels.of(i), b = steps.of(row), t = row - b * L;
        const int64_t length = lengths ? lengths[b] : L, first = only_last ? length - 1 : 0;
        const bool inside = t >= first && t < length;
        put(dx + i, inside ? dy[b * D + i - row * D] / (float)(length - first) : 0.0f, accumulate);
    });
}

CUDA_OP(pool, {forward, backward}, NULL);
