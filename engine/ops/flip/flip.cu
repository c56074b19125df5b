#include "engine/ops/flip/flip.h"

#include "engine/cuda/grid.cuh"

static void turn(const OpCall *call, const Run *run, const float *from, float *to,
                 bool accumulate) {
    const int64_t L = extent(call->in[0], 1);
    const Divisor channels = divide_by(extent(call->in[0], 2)), tokens = divide_by(L);
    for_each(run, tensor_size(call->in[0]), [=] __device__(int64_t i) {
        const int64_t row = channels.of(i), b = tokens.of(row);
        const int64_t other = b * L + L - 1 - (row - b * L);
        put(to + i, from[other * channels.d + (i - row * channels.d)], accumulate);
    });
}

static void forward(const OpCall *call, const Run *run) {
    turn(call, run, call->in[0]->data, call->out[0]->data, false);
}

static void backward(const OpCall *call, const Run *run) {
    float *const dx = gradient_of(call, 0);
    if (dx) turn(call, run, call->out[0]->gradient, dx, call->accumulate[0]);
}

CUDA_OP(flip, {forward, backward}, NULL);
