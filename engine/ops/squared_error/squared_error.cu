#include "engine/ops/squared_error/squared_error.h"

#include "engine/cuda/loss.cuh"

static void forward(const OpCall *call, const Run *run) {
    const float *prediction = call->in[0]->data, *target = call->in[1]->data;
    float *row_loss = call->out[1]->data;
    const int64_t rows = tensor_size(call->in[0]);
    for_each(run, rows, [=] __device__(int64_t i) {
        const float error = prediction[i] - target[i];
        row_loss[i] = error * error;
    });
    weighted_sum(run, row_loss, call->in[2]->data, rows, call->out[0]->data);
}

static void backward(const OpCall *call, const Run *run) {
    float *const to = gradient_of(call, 0);
    if (!to) return;
    const float *prediction = call->in[0]->data, *target = call->in[1]->data;
    const float *weights = call->in[2]->data;
    const float *d_loss = call->out[0]->gradient, *d_rows = call->out[1]->gradient;
    const bool accumulate = call->accumulate[0];
    for_each(run, tensor_size(call->in[0]), [=] __device__(int64_t i) {
        const float g = d_loss[0] * weights[i] + (d_rows ? d_rows[i] : 0.0f);
        put(to + i, 2 * g * (prediction[i] - target[i]), accumulate);
    });
}

CUDA_OP(squared_error, {forward, backward}, NULL);
