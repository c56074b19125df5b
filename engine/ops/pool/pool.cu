#include "engine/ops/pool/pool.h"

#include "engine/cuda/grid.cuh"

/* 32 channels side by side and 8 stretches of the time, added in order. */
enum { CHANNELS = WARP, STRETCHES = 8, THREADS = CHANNELS * STRETCHES };

/* Positions from .. to - 1 of a sequence, of which y is the mean. */
struct Range {
    int64_t from, to;
};
__device__ static inline Range range_of(Pooling pooling, int64_t length) {
    return {pooling == POOL_LAST ? length - 1 : 0, pooling == POOL_FIRST ? 1 : length};
}

KERNEL void __launch_bounds__(THREADS) pooled(const float *__restrict__ x, const int32_t *lengths,
                                              float *y, int64_t L, int64_t D, Pooling pooling) {
    __shared__ float sums[STRETCHES][CHANNELS];
    const int lane = (int)threadIdx.x % CHANNELS, stretch = (int)threadIdx.x / CHANNELS;
    const int64_t b = blockIdx.y, c = (int64_t)blockIdx.x * CHANNELS + lane;
    const Range range = range_of(pooling, lengths ? lengths[b] : L);
    float sum = 0;
#pragma unroll 8 /* loads in flight */
    for (int64_t t = range.from + stretch; c < D && t < range.to; t += STRETCHES)
        sum += x[(b * L + t) * D + c];
    sums[stretch][lane] = sum;
    __syncthreads();
    if (stretch > 0 || c >= D) return;
    for (int s = 1; s < STRETCHES; s++) sum += sums[s][lane];
    y[b * D + c] = sum / (float)(range.to - range.from);
}

static Pooling pooling_of(const OpCall *call) {
    return static_cast<const Pool *>(call->attributes)->pooling;
}

static void forward(const OpCall *call, const Run *run) {
    const Tensor *x = call->in[0];
    const int64_t D = extent(x, 2);
    LAUNCH(run, pooled, dim3(blocks_for(D, CHANNELS), (unsigned)extent(x, 0)), THREADS, 0, x->data,
           input_of(call, 1) ? call->in[1]->integers : NULL, call->out[0]->data, extent(x, 1), D,
           pooling_of(call));
}

static void backward(const OpCall *call, const Run *run) {
    float *const dx = gradient_of(call, 0);
    if (!dx) return;
    const float *dy = call->out[0]->gradient;
    const int32_t *lengths = input_of(call, 1) ? call->in[1]->integers : NULL;
    const int64_t L = extent(call->in[0], 1), D = extent(call->in[0], 2);
    const Pooling pooling = pooling_of(call);
    const bool accumulate = call->accumulate[0];
    const Divisor channels = divide_by(D), steps = divide_by(L);
    for_each(run, tensor_size(call->in[0]), [=] __device__(int64_t i) {
        const int64_t row = channels.of(i), b = steps.of(row), t = row - b * L;
        const Range range = range_of(pooling, lengths ? lengths[b] : L);
        const bool inside = t >= range.from && t < range.to;
        const float share = (float)(range.to - range.from);
        put(dx + i, inside ? dy[b * D + i - row * D] / share : 0.0f, accumulate);
    });
}

CUDA_OP(pool, {forward, backward}, NULL);
