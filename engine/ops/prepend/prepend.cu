#include "engine/ops/prepend/prepend.h"

#include "engine/cuda/grid.cuh"

static void forward(const OpCall *call, const Run *run) {
    const float *x = call->in[0]->data, *front = call->in[1]->data;
    float *y = call->out[0]->data;
    const int64_t first = tensor_size(call->in[1]);
    const Divisor item = divide_by(extent(call->out[0], 1) * extent(call->out[0], 2));
    for_each(run, tensor_size(call->out[0]), [=] __device__(int64_t i) {
        const int64_t b = item.of(i), at = i - b * item.d;
        y[i] = at < first ? front[at] : x[b * (item.d - first) + at - first];
    });
}

static void backward(const OpCall *call, const Run *run) {
    float *const dx = gradient_of(call, 0), *const dfront = gradient_of(call, 1);
    const float *dy = call->out[0]->gradient;
    const int64_t B = extent(call->in[0], 0), first = tensor_size(call->in[1]);
    const bool add_x = call->accumulate[0], add_front = call->accumulate[1];
    const Divisor item = divide_by(extent(call->in[0], 1) * extent(call->in[0], 2));
    if (dx)
        for_each(run, tensor_size(call->in[0]), [=] __device__(int64_t i) {
            put(dx + i, dy[i + (item.of(i) + 1) * first], add_x);
        });
    if (dfront)
        for_each(run, first, [=] __device__(int64_t i) {
            float sum = 0;
            for (int64_t b = 0; b < B; b++) sum += dy[b * (item.d + first) + i];
            put(dfront + i, sum, add_front);
        });
}

CUDA_OP(prepend, {forward, backward}, NULL);
