#include "engine/ops/gather_rows/gather_rows.h"

#include "engine/cuda/grid.cuh"

static void forward(const OpCall *call, const Run *run) {
    const float *x = call->in[0]->data;
    const int32_t *positions = call->in[1]->integers;
    float *y = call->out[0]->data;
    const int64_t length = extent(call->in[0], 1), width = extent(call->in[0], 2);
    const int64_t labels = extent(call->in[1], 1);
    for_each(run, tensor_size(call->out[0]), [=] __device__(int64_t i) {
        const int64_t row = i / width;
        y[i] = x[(row / labels * length + positions[row]) * width + i % width];
    });
}

/* Every element of dx collects the labels that point at its row, in order: no atomics. */
static void backward(const OpCall *call, const Run *run) {
    float *const dx = gradient_of(call, 0);
    if (!dx) return;
    const float *dy = call->out[0]->gradient;
    const int32_t *positions = call->in[1]->integers;
    const int64_t length = extent(call->in[0], 1), width = extent(call->in[0], 2);
    const int64_t labels = extent(call->in[1], 1);
    const bool accumulate = call->accumulate[0];
    for_each(run, tensor_size(call->in[0]), [=] __device__(int64_t i) {
        const int64_t t = i / width % length, b = i / width / length;
        float sum = 0;
        for (int64_t k = b * labels; k < (b + 1) * labels; k++)
            if (positions[k] == t) sum += dy[k * width + i % width];
        put(dx + i, sum, accumulate);
    });
}

CUDA_OP(gather_rows, {forward, backward}, NULL);
