#include "engine/ops/mask_padding/mask_padding.h"

#include "engine/cuda/grid.cuh"

static void apply(const OpCall *call, const Run *run, const float *from, float *to,
                  bool accumulate) {
    const int32_t *lengths = call->in[1]->integers;
    const int64_t L = extent(call->in[0], 1), D = extent(call->in[0], 2);
    for_each(run, tensor_size(call->in[0]), [=] __device__(int64_t i) {
        const int64_t t = i / D % L, b = i / D / L;
        put(to + i, t < lengths[b] ? from[i] : 0.0f, accumulate);
    });
}

static void forward(const OpCall *call, const Run *run) {
    apply(call, run, call->in[0]->data, call->out[0]->data, false);
}

static void backward(const OpCall *call, const Run *run) {
    float *const dx = gradient_of(call, 0);
    if (dx) apply(call, run, call->out[0]->gradient, dx, call->accumulate[0]);
}

CUDA_OP(mask_padding, {forward, backward}, NULL);
