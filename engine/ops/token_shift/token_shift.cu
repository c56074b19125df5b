/* Element by element, bound by memory; the gradients of the mixes are sums over rows. */
#include "engine/ops/token_shift/token_shift.h"

#include "engine/cuda/columns.cuh"

/* What a kernel takes of all mixes. */
struct Shift {
    const float *x, *state, *mix[TOKEN_SHIFT_MIXES];
    float *y[TOKEN_SHIFT_MIXES]; /* or their gradients; NULL: none */
    int64_t L, D;
    Divisor by_channels, by_length;
    int count;

    /* x[t-1] of element i of a row. */
    __device__ float before(int64_t i, int64_t row) const {
        const int64_t sequence = by_length.of(row);
        if (row > sequence * L) return x[i - D];
        return state ? state[sequence * D + i - row * D] : 0.0f;
    }
};

static Shift shift_of(const OpCall *call, bool gradients) {
    const Tensor *x = call->in[SHIFT_X];
    Shift shift = {};
    shift.x = x->data;
    shift.state = data_of(call, SHIFT_STATE);
    shift.L = extent(x, 1);
    shift.D = extent(x, 2);
    shift.by_channels = divide_by(shift.D);
    shift.by_length = divide_by(shift.L);
    shift.count = token_shift_count(call);
    for (int i = 0; i < shift.count; i++) {
        shift.mix[i] = call->in[SHIFT_MIX + i]->data;
        shift.y[i] = gradients ? call->out[i]->gradient : call->out[i]->data;
    }
    return shift;
}

static void forward(const OpCall *call, const Run *run) {
    const Shift s = shift_of(call, false);
    float *const next = s.state ? call->out[s.count]->data : NULL;
    for_each(run, tensor_size(call->in[SHIFT_X]), [=] __device__(int64_t i) {
        const int64_t row = s.by_channels.of(i), d = i - row * s.D;
        const float now = s.x[i], before = s.before(i, row), apart = now - before;
#pragma unroll
        for (int n = 0; n < TOKEN_SHIFT_MIXES; n++)
            if (n < s.count) s.y[n][i] = before + apart * s.mix[n][d];
        const int64_t sequence = s.by_length.of(row);
        if (next && row == sequence * s.L + s.L - 1) next[sequence * s.D + d] = now;
    });
}

static void backward(const OpCall *call, const Run *run) {
    const Shift s = shift_of(call, true);
    const int64_t rows = rows_of(call->in[SHIFT_X]);
    const bool add = call->accumulate[SHIFT_X];
    if (float *const dx = gradient_of(call, SHIFT_X))
        for_each(run, rows * s.D, [=] __device__(int64_t i) {
            const int64_t row = s.by_channels.of(i), d = i - row * s.D;
            const bool last = row + 1 == (s.by_length.of(row) + 1) * s.L;
            float sum = 0;
#pragma unroll
            for (int n = 0; n < TOKEN_SHIFT_MIXES; n++) {
                if (!s.y[n]) continue;
                const float mix = s.mix[n][d];
                sum += s.y[n][i] * mix;
                if (!last) sum += s.y[n][i + s.D] * (1 - mix);
            }
            put(dx + i, sum, add);
        });
    for (int n = 0; n < s.count; n++) {
        const float *const dy = s.y[n];
        if (float *const to = gradient_of(call, SHIFT_MIX + n))
            sum_columns(
                run,
                [=] __device__(int64_t row, int64_t d) {
                    const int64_t i = row * s.D + d;
                    return dy ? dy[i] * (s.x[i] - s.before(i, row)) : 0.0f;
                },
                rows, s.D, to, call->accumulate[SHIFT_MIX + n],
                static_cast<float *>(call->scratch));
    }
}

static size_t scratch(const OpCall *call, Phase phase) {
    const Tensor *x = call->in[SHIFT_X];
    return phase == PHASE_BACKWARD ? column_scratch(rows_of(x), extent(x, 2)) : 0;
}

CUDA_OP(token_shift, {forward, backward}, scratch);
