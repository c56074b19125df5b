#include "engine/ops/embedding/embedding.h"

#include "engine/cuda/collect.cuh"

static void forward(const OpCall *call, const Run *run) {
    const float factor = static_cast<const Embedding *>(call->attributes)->factor;
    const int32_t *ids = call->in[0]->integers;
    const float *table = call->in[1]->data;
    float *y = call->out[0]->data;
    const Divisor width = divide_by(extent(call->in[1], 1));
    for_each(run, tensor_size(call->out[0]), [=] __device__(int64_t i) {
        const int64_t row = width.of(i);
        y[i] = factor * table[ids[row] * width.d + i - row * width.d];
    });
}

static void backward(const OpCall *call, const Run *run) {
    Collect x = {};
    x.to = gradient_of(call, 1);
    if (!x.to) return;
    x.keys = call->in[0]->integers;
    x.groups = 1;
    x.keys_each = tensor_size(call->in[0]);
    x.rows_each = extent(call->in[1], 0);
    x.width = extent(call->in[1], 1);
    x.from = call->out[0]->gradient;
    x.factor = static_cast<const Embedding *>(call->attributes)->factor;
    x.accumulate = call->accumulate[1];
    collect(run, x);
}

CUDA_OP(embedding, {forward, backward}, NULL);
