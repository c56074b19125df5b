/* A row is one number here, so a batch is small: plain loops, the sum in double and in order. */
#include "engine/ops/squared_error/squared_error.h"

static void forward(const OpCall *call, const Run *run) {
    (void)run;
    const float *prediction = call->in[0]->data, *target = call->in[1]->data;
    const float *weights = call->in[2]->data;
    float *row_loss = call->out[1]->data;
    const int64_t rows = tensor_size(call->in[0]);
    double loss = 0;
    for (int64_t r = 0; r < rows; r++) {
        const float error = prediction[r] - target[r];
        row_loss[r] = error * error;
        loss += (double)weights[r] * (double)row_loss[r];
    }
    call->out[0]->data[0] = (float)loss;
}

static void backward(const OpCall *call, const Run *run) {
    (void)run;
    const float *prediction = call->in[0]->data, *target = call->in[1]->data;
    const float *weights = call->in[2]->data, *row_slope = call->out[1]->gradient;
    const float slope = call->out[0]->gradient[0];
    float *gradient = call->in[0]->gradient;
    if (!gradient) return;
    const int64_t rows = tensor_size(call->in[0]);
    for (int64_t r = 0; r < rows; r++) {
        const float factor = slope * weights[r] + (row_slope ? row_slope[r] : 0.0f);
        const float value = 2.0f * factor * (prediction[r] - target[r]);
        gradient[r] = call->accumulate[0] ? gradient[r] + value : value;
    }
}

const OpKernels ISA(squared_error_cpu) = {forward, backward};
