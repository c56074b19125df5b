/* A thread for each output: neighbouring threads are neighbouring channels, and the K rows that
 * they read come from the cache. Bound by memory. */
#include "engine/ops/short_convolution/short_convolution.h"

#include "engine/cuda/activation.cuh"
#include "engine/cuda/columns.cuh"
#include "engine/ops/short_convolution/short_convolution_plan.h"

struct Convolution {
    Plan plan;
    const float *x, *w, *bias, *state;
    bool silu;

    /* x[b, s] with the state before it and zeros around */
    __device__ float row(int64_t b, int64_t s, int64_t e) const {
        if (s >= plan.L) return 0.0f;
        if (s >= 0) return x[(b * plan.L + s) * plan.E + e];
        const int64_t H = plan.K - 1;
        return state && H + s >= 0 ? state[(b * H + H + s) * plan.E + e] : 0.0f;
    }
    __device__ float before_activation(int64_t b, int64_t t, int64_t e) const {
        float sum = bias ? bias[e] : 0.0f;
        for (int64_t j = 0; j < plan.K; j++)
            sum += w[j * plan.E + e] * row(b, t - plan.past + j, e);
        return sum;
    }
};

static Convolution convolution_of(const OpCall *call) {
    Convolution c = {};
    c.plan = short_convolution_plan(call);
    c.x = call->in[0]->data;
    c.w = call->in[1]->data;
    c.bias = data_of(call, 2);
    c.state = data_of(call, 3);
    c.silu = static_cast<const ShortConvolution *>(call->attributes)->activation == ACTIVATION_SILU;
    return c;
}

static void forward(const OpCall *call, const Run *run) {
    const Convolution c = convolution_of(call);
    const int64_t L = c.plan.L, E = c.plan.E, H = c.plan.K - 1;
    float *const y = call->out[0]->data;
    for_each(run, c.plan.B * L * E, [=] __device__(int64_t i) {
        const float sum = c.before_activation(i / E / L, i / E % L, i % E);
        y[i] = c.silu ? sum * sigmoid_of(sum) : sum;
    });
    if (!c.state) return;
    float *const next = call->out[1]->data;
    for_each(run, c.plan.B * H * E,
             [=] __device__(int64_t i) { next[i] = c.row(i / E / H, L - H + i / E % H, i % E); });
}

/* d inner[b, t, e] x[b, t - past + j, e]: the term of the gradient of tap j */
struct TapTerm {
    Convolution c;
    const float *inner;
    int64_t j;
    __device__ float operator()(int64_t row, int64_t e) const {
        const int64_t b = row / c.plan.L, t = row % c.plan.L;
        return inner[row * c.plan.E + e] * c.row(b, t - c.plan.past + j, e);
    }
};

static void backward(const OpCall *call, const Run *run) {
    const Convolution c = convolution_of(call);
    const int64_t B = c.plan.B, L = c.plan.L, E = c.plan.E, K = c.plan.K, H = K - 1;
    const int64_t past = c.plan.past;
    const float *dy = call->out[0]->gradient;
    const float *d_next = c.state ? call->out[1]->gradient : NULL;
    Carver carver = {static_cast<unsigned char *>(call->scratch)};
    float *const inner = carver.take<float>(B * L * E);
    float *const sums = carver.take<float>(column_slices(B * L) * E);
    for_each(run, B * L * E, [=] __device__(int64_t i) {
        float slope = 1.0f;
        if (c.silu)
            slope =
                activation_slope(ACTIVATION_SILU, c.before_activation(i / E / L, i / E % L, i % E));
        inner[i] = dy[i] * slope;
    });
    if (float *dw = gradient_of(call, 1))
        for (int64_t j = 0; j < K; j++)
            sum_columns(run, TapTerm{c, inner, j}, B * L, E, dw + j * E, call->accumulate[1], sums);
    if (float *bias = gradient_of(call, 2))
        sum_columns(run, MatrixTerm{inner, E}, B * L, E, bias, call->accumulate[2], sums);
    /* The cotangent of row s (from -H on) of sequence b: of outputs that see it, and of the state
     * that it becomes. */
    const auto cotangent = [=] __device__(int64_t b, int64_t s, int64_t e) {
        float sum = 0;
        for (int64_t j = 0; j < K; j++) {
            const int64_t t = s + past - j;
            if (t >= 0 && t < L) sum += c.w[j * E + e] * inner[(b * L + t) * E + e];
        }
        if (d_next && s >= L - H) sum += d_next[(b * H + s - (L - H)) * E + e];
        return sum;
    };
    if (float *dx = gradient_of(call, 0)) {
        const bool accumulate = call->accumulate[0];
        for_each(run, B * L * E, [=] __device__(int64_t i) {
            put(dx + i, cotangent(i / E / L, i / E % L, i % E), accumulate);
        });
    }
    if (float *d_state = gradient_of(call, 3)) {
        const bool accumulate = call->accumulate[3];
        for_each(run, B * H * E, [=] __device__(int64_t i) {
            put(d_state + i, cotangent(i / E / H, i / E % H - H, i % E), accumulate);
        });
    }
}

static size_t scratch(const OpCall *call, Phase phase) {
    const Plan plan = short_convolution_plan(call);
    const int64_t rows = plan.B * plan.L;
    return phase == PHASE_FORWARD
               ? 0
               : carved(rows * plan.E, sizeof(float)) + column_scratch(rows, plan.E);
}

CUDA_OP(short_convolution, {forward, backward}, scratch);
