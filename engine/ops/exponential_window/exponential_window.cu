#include "engine/ops/exponential_window/exponential_window.h"

#include "engine/cuda/grid.cuh"

/* Linear in x, so backward is forward on gradients. */
static void apply(const OpCall *call, const Run *run, const float *from, float *to,
                  bool accumulate) {
    const ExponentialWindow *attributes = static_cast<const ExponentialWindow *>(call->attributes);
    const float last = attributes->max_length > 1 ? (float)(attributes->max_length - 1) : 1.0f;
    const float shift = attributes->shift;
    const float *rate = call->in[1]->data;
    const Divisor channels = divide_by(extent(call->in[0], 1));
    for_each(run, tensor_size(call->in[0]), [=] __device__(int64_t i) {
        const int64_t step = channels.of(i);
        const float time = (float)step / last, size = fabsf(rate[i - step * channels.d]);
        put(to + i, from[i] * (expf(-size * time) + shift), accumulate);
    });
}

static void forward(const OpCall *call, const Run *run) {
    apply(call, run, call->in[0]->data, call->out[0]->data, false);
}

static void backward(const OpCall *call, const Run *run) {
    float *const dx = gradient_of(call, 0);
    if (dx) apply(call, run, call->out[0]->gradient, dx, call->accumulate[0]);
}

CUDA_OP(exponential_window, {forward, backward}, NULL);
