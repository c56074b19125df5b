/* From the parameters of a diagonal state space to its discrete modes, in double precision, for
 * half a block of channels side by side. */
#ifndef LONGHAUL_VANDERMONDE_MODES_H
#define LONGHAUL_VANDERMONDE_MODES_H

#include "engine/ops/vandermonde/vandermonde.h"
#include "engine/vmath_double.h"

/* DOUBLES channels from `channel` on; those from D on repeat the last one and are never stored. B
 * and C are one where they are NULL. Neighbouring channels lie `row` modes apart in A and B, and
 * `dt_row` numbers in log_dt: 0 where they share them. */
typedef struct ModeSource {
    const float *log_dt, *A_real, *A_imag, *C, *B;
    int64_t M, D, channel, steps; /* steps: numbers in log_dt for a channel */
    int64_t row, dt_row;
    DiagonalForm form;
} ModeSource;

typedef struct Mode {
    zvector lambda, a, power; /* lambda, dt lambda, lambdabar */
    zvector input, B, C;      /* Bbar / B */
    vdouble dt[2];            /* of real and imaginary parts */
    vlong grows;              /* softmax: Re lambda > 0 */
} Mode;

static inline ModeSource mode_source(const OpCall *call, DiagonalForm form) {
    const Tensor *log_dt = call->in[DIAGONAL_LOG_DT], *A = call->in[DIAGONAL_A_REAL];
    const bool shared = extent(A, 0) == 1;
    const int64_t M = extent(A, 1), steps = log_dt ? tensor_size(log_dt) / extent(log_dt, 0) : 0;
    return (ModeSource){.log_dt = log_dt ? log_dt->data : NULL,
                        .A_real = A->data,
                        .A_imag = call->in[DIAGONAL_A_IMAG]->data,
                        .C = call->in[DIAGONAL_C]->data,
                        .B = data_of(call, DIAGONAL_B),
                        .D = extent(call->in[DIAGONAL_C], 0),
                        .M = M,
                        .steps = steps,
                        .row = shared ? 0 : M,
                        .dt_row = shared ? 0 : steps,
                        .form = form};
}

/* p[(channel + lane) step + offset] for every lane */
static inline vdouble mode_gather(const ModeSource *s, const float *p, int64_t step,
                                  int64_t offset) {
    vdouble x;
    for (int lane = 0; lane < DOUBLES; lane++) {
        const int64_t channel = s->channel + lane < s->D ? s->channel + lane : s->D - 1;
        x[lane] = (double)p[channel * step + offset];
    }
    return x;
}

static inline zvector mode_complex(const ModeSource *s, const float *pairs, int64_t row,
                                   int64_t n) {
    return (zvector){mode_gather(s, pairs, 2 * row, 2 * n),
                     mode_gather(s, pairs, 2 * row, 2 * n + 1)};
}

static inline zvector mode_lambda(const ModeSource *s, int64_t n) {
    const vdouble A = mode_gather(s, s->A_real, s->row, n);
    zvector lambda = {A, mode_gather(s, s->A_imag, s->row, n)};
    if (s->form.real == REAL_NEGATIVE_EXP) lambda.re = -d_exp(A);
    if (s->form.real == REAL_CLIPPED) lambda.re = d_select(A < -1e-4, A, d_set(-1e-4));
    if (s->form.imaginary == IMAGINARY_EXP) lambda.im = d_exp(lambda.im);
    return lambda;
}

/* Of the softmax, with E = e^(a' P): E - 1, x = (E - 1) lambda, |x|^2 + epsilon and r(x). */
typedef struct ModeSoftmax {
    zvector less_one, x, reciprocal;
    vdouble square;
} ModeSoftmax;

static inline ModeSoftmax mode_softmax(const ModeSource *s, const Mode *m, zvector decay) {
    ModeSoftmax of;
    of.less_one = z_exp(z_scale(decay, d_set((double)s->form.period)));
    of.less_one.re -= 1.0;
    of.x = z_multiply(of.less_one, m->lambda);
    of.square = of.x.re * of.x.re + of.x.im * of.x.im + 1e-7;
    of.reciprocal = z_scale(z_conjugate(of.x), 1.0 / of.square);
    return of;
}

/* a' of the softmax */
static inline zvector mode_decay(const Mode *m) {
    return (zvector){d_select(m->grows, -m->a.re, m->a.re), d_select(m->grows, -m->a.im, m->a.im)};
}

static inline Mode mode_of(const ModeSource *s, int64_t n) {
    const zvector one = {d_set(1), d_set(0)};
    Mode m = {.dt = {d_set(1), d_set(1)}, .lambda = mode_lambda(s, n), .B = one, .C = one};
    for (int i = 0; i < 2 && s->log_dt; i++)
        m.dt[i] = d_exp(mode_gather(s, s->log_dt, s->dt_row, i % s->steps));
    if (s->C) m.C = mode_complex(s, s->C, s->M, n);
    if (s->B) m.B = mode_complex(s, s->B, s->row, n);
    m.a = (zvector){m.dt[0] * m.lambda.re, m.dt[1] * m.lambda.im};
    if (s->form.discretisation == DISCRETISATION_BILINEAR) {
        const zvector half = z_scale(m.a, d_set(0.5)), below = {1.0 - half.re, -half.im};
        m.power = z_divide(z_add(one, half), below);
        m.input = z_divide((zvector){m.dt[0], d_set(0)}, below);
        return m;
    }
    m.power = z_exp(m.a);
    m.input = z_divide((zvector){m.power.re - 1.0, m.power.im}, m.lambda);
    if (s->form.discretisation == DISCRETISATION_SOFTMAX) {
        m.grows = m.lambda.re > 0.0;
        const zvector decay = mode_decay(&m), power = z_exp(decay);
        m.input =
            z_multiply((zvector){power.re - 1.0, power.im}, mode_softmax(s, &m, decay).reciprocal);
    }
    return m;
}

/* Where powers start: e^(a places) for the growing modes of the softmax, otherwise 1. */
static inline zvector mode_start(const ModeSource *s, const Mode *m, int64_t places) {
    const zvector one = {d_set(1), d_set(0)};
    if (s->form.discretisation != DISCRETISATION_SOFTMAX) return one;
    const zvector moved = z_exp(z_scale(m->a, d_set((double)places)));
    return (zvector){d_select(m->grows, moved.re, one.re), d_select(m->grows, moved.im, one.im)};
}

/* Gradients are added to the arrays that are not NULL. */
typedef struct ModeSinks {
    float *A_real, *A_imag, *C, *B;
} ModeSinks;

/* Gradients are added to: those that are to be overwritten start from zero. */
static inline float *mode_sink(const OpCall *call, int i) {
    if (i >= call->inputs || !call->in[i] || call->passed[i]) return NULL;
    float *gradient = call->in[i]->gradient;
    if (gradient && !call->accumulate[i])
        memset(gradient, 0, (size_t)tensor_size(call->in[i]) * sizeof *gradient);
    return gradient;
}
static inline ModeSinks mode_sinks(const OpCall *call) {
    return (ModeSinks){.A_real = mode_sink(call, DIAGONAL_A_REAL),
                       .A_imag = mode_sink(call, DIAGONAL_A_IMAG),
                       .C = mode_sink(call, DIAGONAL_C),
                       .B = mode_sink(call, DIAGONAL_B)};
}

static inline void mode_scatter(const ModeSource *s, float *p, int64_t step, int64_t offset,
                                vdouble x) {
    if (!p) return;
    for (int lane = 0; lane < DOUBLES && s->channel + lane < s->D; lane++)
        p[(s->channel + lane) * step + offset] += (float)x[lane];
}

/* Cotangents of a and, where lambda acts on Bbar beside it, of lambda; of dt for the bilinear rule.
 */
typedef struct ModeCotangents {
    zvector a, lambda;
    vdouble dt;
} ModeCotangents;

/* From h, cotangent of log lambdabar, and g, cotangent of Bbar / B. dr = conj(dx) epsilon /
 * square^2 - dx conj(x)^2 / square^2 is not analytic. */
static inline ModeCotangents mode_softmax_cotangents(const ModeSource *s, const Mode *m, zvector g,
                                                     zvector h) {
    const zvector decay = mode_decay(m), power = z_exp(decay);
    const ModeSoftmax of = mode_softmax(s, m, decay);
    const zvector less_one = {power.re - 1.0, power.im}, E = {of.less_one.re + 1.0, of.less_one.im};
    const zvector to_r = z_multiply(z_conjugate(less_one), g);
    const zvector squared = z_multiply(of.reciprocal, of.reciprocal);
    zvector to_x = z_scale(z_multiply(z_conjugate(squared), to_r), d_set(-1));
    to_x = z_add(to_x, z_scale(z_conjugate(to_r), 1e-7 / (of.square * of.square)));
    const zvector by_E = z_scale(z_multiply(E, m->lambda), d_set((double)s->form.period));
    zvector to_decay = z_multiply(z_conjugate(by_E), to_x);
    to_decay = z_add(to_decay, z_multiply(z_conjugate(z_multiply(power, of.reciprocal)), g));
    const vdouble sign = d_select(m->grows, d_set(-1), d_set(1));
    return (ModeCotangents){.a = z_add(h, z_scale(to_decay, sign)),
                            .lambda = z_multiply(z_conjugate(of.less_one), to_x)};
}

/* From h, cotangent of log lambdabar, and g, cotangent of c. */
static inline ModeCotangents mode_cotangents(const ModeSource *s, const Mode *m, zvector g,
                                             zvector h) {
    const zvector one = {d_set(1), d_set(0)}, CB = z_multiply(m->C, m->B);
    const zvector c = z_multiply(CB, m->input);
    ModeCotangents to = {.a = h};
    if (s->form.discretisation == DISCRETISATION_ZOH) {
        /* Bbar = B (e^a - 1) / lambda */
        const zvector by_a = z_divide(z_multiply(CB, m->power), m->lambda);
        to.a = z_add(h, z_multiply(z_conjugate(by_a), g));
        to.lambda = z_scale(z_multiply(z_conjugate(z_divide(c, m->lambda)), g), d_set(-1));
    } else if (s->form.discretisation == DISCRETISATION_BILINEAR) {
        /* d log lambdabar / da = 1 / (1 - a^2 / 4); Bbar = B dt / (1 - a / 2) */
        const zvector square = z_scale(z_multiply(m->a, m->a), d_set(0.25));
        const zvector slope = z_divide(one, (zvector){1.0 - square.re, -square.im});
        const zvector by_a = z_divide(c, (zvector){2.0 - m->a.re, -m->a.im});
        to.a = z_add(z_multiply(z_conjugate(slope), h), z_multiply(z_conjugate(by_a), g));
        to.dt = z_multiply(z_conjugate(c), g).re / m->dt[0];
    } else {
        to = mode_softmax_cotangents(s, m, z_multiply(z_conjugate(CB), g), h);
    }
    return to;
}

/* The gradients of lambda's parameters and, added to log_dt, of the step sizes from h, cotangent of
 * log lambdabar, and g, cotangent of C Bbar. */
static inline void mode_chain(const ModeSource *s, int64_t n, const Mode *m, zvector g, zvector h,
                              const ModeSinks *to, vdouble log_dt[2]) {
    ModeCotangents of = mode_cotangents(s, m, g, h);
    of.lambda.re += m->dt[0] * of.a.re;
    of.lambda.im += m->dt[1] * of.a.im;
    log_dt[0] += m->dt[0] * (of.dt + m->lambda.re * of.a.re);
    log_dt[1] += m->dt[1] * (m->lambda.im * of.a.im);
    vdouble slope = d_set(1); /* of Re lambda in A_real */
    if (s->form.real == REAL_NEGATIVE_EXP) slope = m->lambda.re;
    if (s->form.real == REAL_CLIPPED)
        slope = d_select(mode_gather(s, s->A_real, s->row, n) < -1e-4, slope, d_set(0));
    mode_scatter(s, to->A_real, s->M, n, of.lambda.re * slope);
    mode_scatter(s, to->A_imag, s->M, n,
                 s->form.imaginary == IMAGINARY_EXP ? of.lambda.im * m->lambda.im : of.lambda.im);
}

/* All gradients of mode n from g = sum_l dK_l conj(S_l), cotangent of c / 2, and h = sum_l l dK_l
 * conj(S_l), with c = C Bbar. */
static inline void mode_gradient(const ModeSource *s, int64_t n, zvector g, zvector h,
                                 const ModeSinks *to, vdouble log_dt[2]) {
    const Mode m = mode_of(s, n);
    const zvector Bbar = z_multiply(m.B, m.input), c = z_multiply(m.C, Bbar);
    g = z_scale(g, d_set(2));
    h = z_scale(h, d_set(2));
    if (s->form.discretisation == DISCRETISATION_SOFTMAX) /* l - p (P - 1) in the place of l */
        h = z_add(h, z_scale(g, d_select(m.grows, d_set(-(double)(s->form.period - 1)), d_set(0))));
    mode_chain(s, n, &m, g, z_multiply(z_conjugate(c), h), to, log_dt);
    const zvector G_C = z_multiply(z_conjugate(Bbar), g);
    const zvector G_B = z_multiply(z_conjugate(z_multiply(m.C, m.input)), g);
    mode_scatter(s, to->C, 2 * s->M, 2 * n, G_C.re);
    mode_scatter(s, to->C, 2 * s->M, 2 * n + 1, G_C.im);
    mode_scatter(s, to->B, 2 * s->M, 2 * n, G_B.re);
    mode_scatter(s, to->B, 2 * s->M, 2 * n + 1, G_B.im);
}

#endif
