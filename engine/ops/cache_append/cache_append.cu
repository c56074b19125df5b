#include "engine/ops/cache_append/cache_append.h"

#include "engine/cuda/grid.cuh"

static void forward(const OpCall *call, const Run *run) {
    const Tensor *cache = call->in[0], *x = call->in[1];
    const CacheAppend *attributes = static_cast<const CacheAppend *>(call->attributes);
    const int64_t column = attributes->column;
    const bool ring = attributes->ring;
    const int64_t L = extent(cache, 1), W = extent(cache, 2), E = extent(x, 2);
    const int32_t *position = call->in[2]->integers;
    const float *from = x->data;
    float *to = call->out[0]->data;
    for_each(run, extent(cache, 0) * W, [=] __device__(int64_t i) {
        const int64_t b = i / W, c = i % W, t = ring ? position[0] % L : position[0];
        if (t < L) to[(b * L + t) * W + c] = from[b * E + column + c];
    });
}

CUDA_OP(cache_append, {forward, NULL}, NULL);
