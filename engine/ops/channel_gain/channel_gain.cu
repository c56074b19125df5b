/* Element by element, bound by memory; the gains' gradients are sums over rows. */
#include "engine/ops/channel_gain/channel_gain.h"

#include "engine/cuda/columns.cuh"

static void forward(const OpCall *call, const Run *run) {
    const float *const a = data_of(call, GAIN_A), *const u = data_of(call, GAIN_U);
    const float *const b = data_of(call, GAIN_B), *const v = data_of(call, GAIN_V);
    float *const y = call->out[0]->data;
    const Divisor channels = divide_by(extent(call->in[GAIN_A], -1));
    for_each(run, tensor_size(call->in[GAIN_A]), [=] __device__(int64_t i) {
        const int64_t d = i - channels.of(i) * channels.d;
        y[i] = a[i] * u[d] + (v ? (b ? b[i] : 1.0f) * v[d] : 0.0f);
    });
}

/* Gradients of one tensor and of its gains. */
static void backward_term(const OpCall *call, const Run *run, int term) {
    const float *const x = data_of(call, term), *const gain = data_of(call, term + 1);
    const float *const dy = call->out[0]->gradient;
    float *const dx = gradient_of(call, term), *const dgain = gradient_of(call, term + 1);
    const int64_t rows = rows_of(call->in[GAIN_A]), D = extent(call->in[GAIN_A], -1);
    const Divisor channels = divide_by(D);
    const bool add = call->accumulate[term];
    if (dx)
        for_each(run, rows * D, [=] __device__(int64_t i) {
            put(dx + i, dy[i] * gain[i - channels.of(i) * D], add);
        });
    if (dgain)
        sum_columns(
            run,
            [=] __device__(int64_t row, int64_t d) {
                return (x ? x[row * D + d] : 1.0f) * dy[row * D + d];
            },
            rows, D, dgain, call->accumulate[term + 1], static_cast<float *>(call->scratch));
}

static void backward(const OpCall *call, const Run *run) {
    backward_term(call, run, GAIN_A);
    if (call->in[GAIN_V]) backward_term(call, run, GAIN_B);
}

static size_t scratch(const OpCall *call, Phase phase) {
    const Tensor *a = call->in[GAIN_A];
    return phase == PHASE_BACKWARD ? column_scratch(rows_of(a), extent(a, -1)) : 0;
}

CUDA_OP(channel_gain, {forward, backward}, scratch);
