#include "engine/ops/sine/sine.h"

#include "engine/cuda/columns.cuh"

/* x cos(frequency x) dy: what a frequency's gradient is the column sum of. */
struct FrequencyTerm {
    const float *x, *frequency, *dy;
    int64_t columns;
    __device__ float operator()(int64_t row, int64_t c) const {
        const int64_t i = row * columns + c;
        return dy[i] * x[i] * cosf(frequency[c] * x[i]);
    }
};

static void forward(const OpCall *call, const Run *run) {
    const float *x = call->in[0]->data, *frequency = call->in[1]->data;
    float *y = call->out[0]->data;
    const int64_t C = extent(call->in[0], -1);
    for_each(run, tensor_size(call->in[0]),
             [=] __device__(int64_t i) { y[i] = sinf(frequency[i % C] * x[i]); });
}

static void backward(const OpCall *call, const Run *run) {
    const float *x = call->in[0]->data, *frequency = call->in[1]->data;
    const float *dy = call->out[0]->gradient;
    const int64_t C = extent(call->in[0], -1);
    float *const dx = gradient_of(call, 0), *const to_frequency = gradient_of(call, 1);
    const bool accumulate = call->accumulate[0];
    if (to_frequency)
        sum_columns(run, FrequencyTerm{x, frequency, dy, C}, rows_of(call->in[0]), C, to_frequency,
                    call->accumulate[1], static_cast<float *>(call->scratch));
    if (dx)
        for_each(run, tensor_size(call->in[0]), [=] __device__(int64_t i) {
            const float f = frequency[i % C];
            put(dx + i, dy[i] * f * cosf(f * x[i]), accumulate);
        });
}

static size_t scratch(const OpCall *call, Phase phase) {
    return phase == PHASE_BACKWARD ? column_scratch(rows_of(call->in[0]), extent(call->in[0], -1))
                                   : 0;
}

CUDA_OP(sine, {forward, backward}, scratch);
