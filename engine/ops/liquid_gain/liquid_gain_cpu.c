/* D M modes once a batch, in double precision: kept simple. Modes are the lanes. */
#include <math.h>
#include <omp.h>

#include "engine/ops/liquid_gain/liquid_gain.h"
#include "engine/vmath_double.h"

/* Modes n .. n + DOUBLES - 1 of a channel; those from M on are zero. */
typedef struct Modes {
    zvector lambda, w, B, b, C; /* w = 1 / (1 - dt lambda / 2), b = dt B w */
} Modes;

/* Numbers `from` on of an array of `parts` floats each; zero for those from `count` on. */
static inline vdouble take(const float *array, int64_t from, int64_t count, int parts, int part) {
    vdouble x = d_set(0);
    for (int lane = 0; lane < DOUBLES && lane < count; lane++)
        x[lane] = (double)array[(from + lane) * parts + part];
    return x;
}

static inline Modes modes_of(const OpCall *call, int64_t d, int64_t n, double dt) {
    const int64_t S = extent(call->in[LIQUID_A_REAL], 0), M = extent(call->in[LIQUID_A_REAL], 1);
    const int64_t own = d * M + n, of_set = d % S * M + n, count = M - n;
    const float *B = call->in[LIQUID_B]->data, *C = call->in[LIQUID_C]->data;
    Modes m = {.lambda = {-d_exp(take(call->in[LIQUID_A_REAL]->data, of_set, count, 1, 0)),
                          take(call->in[LIQUID_A_IMAG]->data, of_set, count, 1, 0)},
               .B = {take(B, of_set, count, 2, 0), take(B, of_set, count, 2, 1)},
               .C = {take(C, own, count, 2, 0), take(C, own, count, 2, 1)}};
    const zvector half = z_scale(m.lambda, d_set(dt / 2));
    m.w = z_divide((zvector){d_set(1), d_set(0)}, (zvector){1.0 - half.re, -half.im});
    m.b = z_scale(z_multiply(m.B, m.w), d_set(dt));
    return m;
}

static inline double sum_of(vdouble x) {
    double sum = 0;
    for (int lane = 0; lane < DOUBLES; lane++) sum += x[lane];
    return sum;
}

/* Sums over the modes and their conjugates: of b, of C b. */
static void sums_of(const OpCall *call, int64_t d, double dt, double *b, double *Cb) {
    vdouble plain = d_set(0), read = d_set(0);
    for (int64_t n = 0; n < extent(call->in[LIQUID_A_REAL], 1); n += DOUBLES) {
        const Modes m = modes_of(call, d, n, dt);
        plain += m.b.re;
        read += z_multiply(m.C, m.b).re;
    }
    *b = 2 * sum_of(plain);
    *Cb = 2 * sum_of(read);
}

static int exponent_of(const OpCall *call) {
    const LiquidGain *attributes = call->attributes;
    return (1 << (attributes->degree - 1)) - 1;
}

static double power(double x, int exponent) {
    double value = 1;
    for (int i = 0; i < exponent; i++) value *= x;
    return value;
}

static void forward(const OpCall *call, const Run *run) {
    const int exponent = exponent_of(call);
#pragma omp parallel for num_threads(run->threads) schedule(static)
    for (int64_t d = 0; d < extent(call->in[LIQUID_LOG_DT], 0); d++) {
        double b, Cb;
        sums_of(call, d, exp((double)call->in[LIQUID_LOG_DT]->data[d]), &b, &Cb);
        call->out[0]->data[d] = (float)(Cb * power(b, exponent));
    }
}

static float *wanted(const OpCall *call, int i) {
    return call->passed[i] ? NULL : call->in[i]->gradient;
}
static void give(const OpCall *call, int input, int64_t at, double value) {
    float *to = wanted(call, input);
    if (to) to[at] = (call->accumulate[input] ? to[at] : 0) + (float)value;
}

/* One channel's gradients: of log_dt and C to their places, of the modes added to sums (M, 4):
 * A_real, A_imag, B. */
static void channel_gradients(const OpCall *call, int64_t d, double *sums) {
    const int64_t M = extent(call->in[LIQUID_A_REAL], 1);
    const int exponent = exponent_of(call);
    const double dt = exp((double)call->in[LIQUID_LOG_DT]->data[d]),
                 G = (double)call->out[0]->gradient[d];
    double b, Cb;
    sums_of(call, d, dt, &b, &Cb);
    const vdouble to_Cb = d_set(2 * G * power(b, exponent)),
                  to_b = d_set(2 * G * Cb * exponent * power(b, exponent - 1));
    vdouble G_dt = d_set(0);
    for (int64_t n = 0; n < M; n += DOUBLES) {
        const Modes m = modes_of(call, d, n, dt);
        zvector G_b = z_scale(z_conjugate(m.C), to_Cb);
        G_b.re += to_b;
        const zvector G_C = z_scale(z_conjugate(m.b), to_Cb);
        const zvector G_B = z_scale(z_multiply(z_conjugate(m.w), G_b), d_set(dt));
        const zvector G_lambda =
            z_scale(z_multiply(z_conjugate(z_multiply(m.b, m.w)), G_b), d_set(dt / 2));
        G_dt += z_multiply(z_conjugate(z_multiply(m.B, z_multiply(m.w, m.w))), G_b).re;
        const vdouble row[4] = {G_lambda.re * m.lambda.re, G_lambda.im, G_B.re, G_B.im};
        for (int lane = 0; lane < DOUBLES && n + lane < M; lane++) {
            for (int i = 0; i < 4; i++) sums[4 * (n + lane) + i] += row[i][lane];
            give(call, LIQUID_C, 2 * (d * M + n + lane), G_C.re[lane]);
            give(call, LIQUID_C, 2 * (d * M + n + lane) + 1, G_C.im[lane]);
        }
    }
    give(call, LIQUID_LOG_DT, d, dt * sum_of(G_dt));
}

static void backward(const OpCall *call, const Run *run) {
    const int64_t S = extent(call->in[LIQUID_A_REAL], 0), M = extent(call->in[LIQUID_A_REAL], 1);
#pragma omp parallel for num_threads(run->threads) schedule(static)
    for (int64_t set = 0; set < S; set++) {
        double *sums = (double *)call->scratch + omp_get_thread_num() * M * 4;
        memset(sums, 0, (size_t)(M * 4) * sizeof *sums);
        for (int64_t d = set; d < extent(call->in[LIQUID_LOG_DT], 0); d += S)
            channel_gradients(call, d, sums);
        for (int64_t n = 0; n < M; n++) {
            give(call, LIQUID_A_REAL, set * M + n, sums[4 * n]);
            give(call, LIQUID_A_IMAG, set * M + n, sums[4 * n + 1]);
            give(call, LIQUID_B, 2 * (set * M + n), sums[4 * n + 2]);
            give(call, LIQUID_B, 2 * (set * M + n) + 1, sums[4 * n + 3]);
        }
    }
}

const OpKernels ISA(liquid_gain_cpu) = {forward, backward};
