/* An exponential for every row and average: the kernel is made once a batch, and a GPU has more of
 * them than it has bandwidth. */
#include "engine/ops/ema_kernel/ema_kernel.h"

#include "engine/cuda/columns.cuh"

struct Average {
    float p, a, q, log_q, beta, gamma;
};
struct Ema {
    const float *in[EMA_INPUTS];
    float scale; /* sqrt(1 / N) */
    __device__ Average at(int64_t i) const {
        Average x;
        x.p = 1.0f / (1.0f + expf(-in[EMA_DELTA][i]));
        x.a = 1.0f / (1.0f + expf(-in[EMA_ALPHA][i]));
        x.q = 1.0f - x.p * x.a;
        x.log_q = log1pf(-x.p * x.a);
        x.beta = in[EMA_BETA][i];
        x.gamma = in[EMA_GAMMA][i];
        return x;
    }
};

static Ema ema_of(const OpCall *call) {
    Ema ema = {};
    for (int i = 0; i < EMA_INPUTS; i++) ema.in[i] = call->in[i]->data;
    ema.scale = (float)sqrt(1 / (double)extent(call->in[EMA_DELTA], 0));
    return ema;
}

/* Coefficients and logarithms of q, (2, N, D). */
static float *make_table(const OpCall *call, const Run *run, const Ema &ema) {
    float *const table = static_cast<float *>(call->scratch);
    const int64_t all = tensor_size(call->in[EMA_DELTA]);
    for_each(run, all, [=] __device__(int64_t i) {
        const Average x = ema.at(i);
        table[i] = ema.scale * x.p * x.beta * x.gamma;
        table[all + i] = x.log_q;
    });
    return table;
}

static void make_modes(const OpCall *call, const Run *run, const Ema &ema) {
    const int64_t N = extent(call->in[EMA_DELTA], 0), D = extent(call->in[EMA_DELTA], 1);
    float *const out = call->out[0]->data;
    for_each(run, N * D, [=] __device__(int64_t i) {
        const int64_t n = i / D, d = i % D;
        const Average x = ema.at(i);
        float *const to = out + d * 4 * N + n;
        to[0] = x.q;
        to[N] = 0;
        to[2 * N] = ema.scale * x.p * x.beta * x.gamma;
        to[3 * N] = 0;
    });
}

static void forward(const OpCall *call, const Run *run) {
    const EmaKernel *attributes = static_cast<const EmaKernel *>(call->attributes);
    const Ema ema = ema_of(call);
    if (attributes->length == 0) return make_modes(call, run, ema);
    const float *const table = make_table(call, run, ema);
    const int64_t N = extent(call->in[EMA_DELTA], 0), D = extent(call->in[EMA_DELTA], 1);
    const int64_t rows = ema_rows(attributes), first = attributes->first;
    float *const out = call->out[0]->data;
    const Divisor channels = divide_by(D);
    for_each(run, attributes->length * D, [=] __device__(int64_t i) {
        const int64_t l = channels.of(i), d = i - l * D;
        const float power = (float)(l + first);
        float sum = 0;
        for (int64_t n = 0; n < N && l < rows; n++)
            sum += table[n * D + d] * expf(power * table[(N + n) * D + d]);
        out[i] = sum;
    });
}

/* What g = sum_l dK_l q^l and sum_l l dK_l q^l add up, for average and channel c. */
struct PowerTerm {
    const float *slope, *log_q;
    int64_t D, first;
    bool derivative;
    __device__ float operator()(int64_t l, int64_t c) const {
        const float power = (float)(l + first);
        const float term = slope[l * D + c % D] * expf(power * log_q[c]);
        return derivative ? power * term : term;
    }
};

static void backward(const OpCall *call, const Run *run) {
    const EmaKernel *attributes = static_cast<const EmaKernel *>(call->attributes);
    const Ema ema = ema_of(call);
    const int64_t all = tensor_size(call->in[EMA_DELTA]), D = extent(call->in[EMA_DELTA], 1);
    const int64_t rows = ema_rows(attributes);
    float *const table = make_table(call, run, ema);
    float *const sums = table + 2 * all, *const partial = sums + 2 * all;
    PowerTerm term = {call->out[0]->gradient, table + all, D, attributes->first, false};
    sum_columns(run, term, rows, all, sums, false, partial);
    term.derivative = true;
    sum_columns(run, term, rows, all, sums + all, false, partial);
    float *to[EMA_INPUTS];
    bool add[EMA_INPUTS];
    for (int i = 0; i < EMA_INPUTS; i++) {
        to[i] = gradient_of(call, i);
        add[i] = call->accumulate[i];
    }
    float *const delta = to[EMA_DELTA], *const alpha = to[EMA_ALPHA];
    float *const beta = to[EMA_BETA], *const gamma = to[EMA_GAMMA];
    const bool add_delta = add[EMA_DELTA], add_alpha = add[EMA_ALPHA];
    const bool add_beta = add[EMA_BETA], add_gamma = add[EMA_GAMMA];
    for_each(run, all, [=] __device__(int64_t i) {
        const Average x = ema.at(i);
        const float g = sums[i], e = sums[all + i] / x.q;
        const float c = ema.scale * x.p * x.beta * x.gamma;
        const float dp = ema.scale * x.beta * x.gamma * g - x.a * c * e;
        if (delta) put(delta + i, dp * x.p * (1.0f - x.p), add_delta);
        if (alpha) put(alpha + i, -x.p * c * e * x.a * (1.0f - x.a), add_alpha);
        if (beta) put(beta + i, ema.scale * x.p * x.gamma * g, add_beta);
        if (gamma) put(gamma + i, ema.scale * x.p * x.beta * g, add_gamma);
    });
}

static size_t scratch(const OpCall *call, Phase phase) {
    const EmaKernel *attributes = static_cast<const EmaKernel *>(call->attributes);
    const int64_t all = tensor_size(call->in[EMA_DELTA]);
    if (phase == PHASE_FORWARD) return carved(2 * all, sizeof(float));
    return carved(4 * all, sizeof(float)) + column_scratch(ema_rows(attributes), all);
}

CUDA_OP(ema_kernel, {forward, backward}, scratch);
