/* D M modes once a batch: sums of a channel by one thread, then a thread a mode, then sums over
 * channels. */
#include "engine/ops/liquid_gain/liquid_gain.h"

#include "engine/cuda/modes.cuh"

struct Gain {
    const float *log_dt, *A_real, *A_imag, *B, *C;
    int64_t D, S, M;
    int exponent;
};

static Gain gain_of(const OpCall *call) {
    Gain x = {};
    x.log_dt = data_of(call, LIQUID_LOG_DT);
    x.A_real = data_of(call, LIQUID_A_REAL);
    x.A_imag = data_of(call, LIQUID_A_IMAG);
    x.B = data_of(call, LIQUID_B);
    x.C = data_of(call, LIQUID_C);
    x.D = extent(call->in[LIQUID_LOG_DT], 0);
    x.S = extent(call->in[LIQUID_A_REAL], 0);
    x.M = extent(call->in[LIQUID_A_REAL], 1);
    x.exponent = (1 << (static_cast<const LiquidGain *>(call->attributes)->degree - 1)) - 1;
    return x;
}

struct LiquidMode {
    double dt;
    Complex lambda, w, B, b, C; /* w = 1 / (1 - dt lambda / 2), b = dt B w */
};

__device__ static inline LiquidMode mode_of(const Gain &x, int64_t d, int64_t n) {
    const int64_t at = d % x.S * x.M + n, own = d * x.M + n;
    const Complex one = {1, 0};
    LiquidMode m;
    m.dt = exp((double)x.log_dt[d]);
    m.lambda = {-exp((double)x.A_real[at]), (double)x.A_imag[at]};
    m.w = one / (one - (m.dt / 2) * m.lambda);
    m.B = {(double)x.B[2 * at], (double)x.B[2 * at + 1]};
    m.C = {(double)x.C[2 * own], (double)x.C[2 * own + 1]};
    m.b = m.dt * (m.B * m.w);
    return m;
}

__device__ static inline double power(double base, int exponent) {
    double value = 1;
    for (int i = 0; i < exponent; i++) value *= base;
    return value;
}

/* Sums over the modes and their conjugates: re of b, im of C b. */
__device__ static inline Complex sums_of(const Gain &x, int64_t d) {
    Complex sum = {0, 0};
    for (int64_t n = 0; n < x.M; n++) {
        const LiquidMode m = mode_of(x, d, n);
        sum.re += 2 * m.b.re;
        sum.im += 2 * (m.C * m.b).re;
    }
    return sum;
}

static void forward(const OpCall *call, const Run *run) {
    const Gain x = gain_of(call);
    float *const gain = call->out[0]->data;
    for_each(run, x.D, [=] __device__(int64_t d) {
        const Complex sum = sums_of(x, d);
        gain[d] = (float)(sum.im * power(sum.re, x.exponent));
    });
}

/* Gradient of a parameter of the sets from those of its channels, (D, M, 5) from `place` on. */
static void sum_channels(const OpCall *call, const Run *run, const Gain &x, const double *modes,
                         int input, int parts, int place) {
    float *const to = gradient_of(call, input);
    const bool accumulate = call->accumulate[input];
    if (!to) return;
    for_each(run, x.S * x.M * parts, [=] __device__(int64_t i) {
        const int64_t set = i / (x.M * parts), n = i / parts % x.M, part = i % parts;
        double sum = 0;
        for (int64_t d = set; d < x.D; d += x.S) sum += modes[(d * x.M + n) * 5 + place + part];
        put(to + i, (float)sum, accumulate);
    });
}

static void backward(const OpCall *call, const Run *run) {
    const Gain x = gain_of(call);
    Carver carver = {static_cast<unsigned char *>(call->scratch)};
    Complex *const sums = carver.take<Complex>(x.D);
    double *const modes = carver.take<double>(x.D * x.M * 5); /* A_real, A_imag, B, dt */
    const float *const G = call->out[0]->gradient;
    float *const C = gradient_of(call, LIQUID_C), *const log_dt = gradient_of(call, LIQUID_LOG_DT);
    const bool add_C = call->accumulate[LIQUID_C], add_dt = call->accumulate[LIQUID_LOG_DT];
    for_each(run, x.D, [=] __device__(int64_t d) { sums[d] = sums_of(x, d); });
    for_each(run, x.D * x.M, [=] __device__(int64_t at) {
        const int64_t d = at / x.M;
        const LiquidMode m = mode_of(x, d, at % x.M);
        const double g = 2 * (double)G[d], to_Cb = g * power(sums[d].re, x.exponent);
        const double to_b = g * sums[d].im * x.exponent * power(sums[d].re, x.exponent - 1);
        const Complex G_b = to_Cb * conjugate(m.C) + Complex{to_b, 0};
        const Complex G_C = to_Cb * conjugate(m.b), G_B = m.dt * (conjugate(m.w) * G_b);
        const Complex G_lambda = (m.dt / 2) * (conjugate(m.b * m.w) * G_b);
        double *row = modes + at * 5;
        row[0] = G_lambda.re * m.lambda.re;
        row[1] = G_lambda.im;
        row[2] = G_B.re;
        row[3] = G_B.im;
        row[4] = m.dt * (conjugate(m.B * (m.w * m.w)) * G_b).re;
        if (!C) return;
        put(C + 2 * at, (float)G_C.re, add_C);
        put(C + 2 * at + 1, (float)G_C.im, add_C);
    });
    if (log_dt)
        for_each(run, x.D, [=] __device__(int64_t d) {
            double sum = 0;
            for (int64_t n = 0; n < x.M; n++) sum += modes[(d * x.M + n) * 5 + 4];
            put(log_dt + d, (float)sum, add_dt);
        });
    sum_channels(call, run, x, modes, LIQUID_A_REAL, 1, 0);
    sum_channels(call, run, x, modes, LIQUID_A_IMAG, 1, 1);
    sum_channels(call, run, x, modes, LIQUID_B, 2, 2);
}

static size_t scratch(const OpCall *call, Phase phase) {
    if (phase == PHASE_FORWARD) return 0;
    const int64_t D = extent(call->in[LIQUID_LOG_DT], 0), M = extent(call->in[LIQUID_A_REAL], 1);
    return carved(D, sizeof(Complex)) + carved(D * M * 5, sizeof(double));
}

CUDA_OP(liquid_gain, {forward, backward}, scratch);
