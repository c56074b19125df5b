#include "engine/ops/gabor/gabor.h"

#include "engine/cuda/columns.cuh"

/* Filter h at a position. */
struct Gabor {
    const float *positions, *bank, *slope;
    int64_t H;
    __device__ float row(int i, int64_t h) const {
        return bank[i * H + h];
    }
    __device__ float bump(float s, int64_t h) const {
        const float scaled = row(GABOR_RATE, h) * (s - row(GABOR_CENTRE, h));
        return expf(-0.5f * scaled * scaled);
    }
    __device__ float angle(float s, int64_t h) const {
        return row(GABOR_FREQUENCY, h) * s + row(GABOR_PHASE, h);
    }
};

/* What the gradient of a parameter, a row of the bank, sums over positions. */
struct GaborTerm {
    Gabor filters;
    int64_t row;
    __device__ float operator()(int64_t k, int64_t h) const {
        const float s = filters.positions[k], angle = filters.angle(s, h);
        const float slope = filters.slope[k * filters.H + h] * filters.bump(s, h);
        const float rate = filters.row(GABOR_RATE, h), apart = s - filters.row(GABOR_CENTRE, h);
        if (row == GABOR_RATE) return -slope * sinf(angle) * rate * apart * apart;
        if (row == GABOR_CENTRE) return slope * sinf(angle) * rate * rate * apart;
        return slope * cosf(angle) * (row == GABOR_FREQUENCY ? s : 1.0f);
    }
};

static Gabor filters_of(const OpCall *call) {
    return {call->in[0]->data, call->in[1]->data, call->out[0]->gradient, extent(call->in[1], 1)};
}

static void forward(const OpCall *call, const Run *run) {
    const Gabor filters = filters_of(call);
    float *const y = call->out[0]->data;
    const Divisor columns = divide_by(filters.H);
    for_each(run, tensor_size(call->out[0]), [=] __device__(int64_t i) {
        const int64_t k = columns.of(i), h = i - k * filters.H;
        const float s = filters.positions[k];
        y[i] = filters.bump(s, h) * sinf(filters.angle(s, h));
    });
}

static void backward(const OpCall *call, const Run *run) {
    float *const to = gradient_of(call, 1);
    const int64_t K = extent(call->out[0], 0), H = extent(call->out[0], 1);
    for (int64_t row = 0; to && row < GABOR_ROWS; row++)
        sum_columns(run, GaborTerm{filters_of(call), row}, K, H, to + row * H, call->accumulate[1],
                    static_cast<float *>(call->scratch));
}

static size_t scratch(const OpCall *call, Phase phase) {
    return phase == PHASE_BACKWARD
               ? column_scratch(extent(call->out[0], 0), extent(call->out[0], 1))
               : 0;
}

CUDA_OP(gabor, {forward, backward}, scratch);
