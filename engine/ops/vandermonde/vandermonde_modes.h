/* From the parameters of a diagonal state space to its discrete modes, in double precision, for
 * half a block of channels side by side. */
#ifndef LONGHAUL_VANDERMONDE_MODES_H
#define LONGHAUL_VANDERMONDE_MODES_H

#include "engine/ops/vandermonde/vandermonde.h"
#include "engine/vmath_double.h"

/* DOUBLES channels from `channel` on; those from D on repeat the last one and are never stored. */
typedef struct ModeSource {
    const float *log_dt, *A_real, *A_imag, *C, *B;
    int64_t M, D, channel;
    Discretisation discretisation;
} ModeSource;

typedef struct Mode {
    zvector lambda, a, power; /* lambda, dt lambda, lambdabar */
    zvector input, B, C;      /* Bbar / B */
    vdouble dt;
} Mode;

static inline ModeSource mode_source(const OpCall *call, Discretisation discretisation) {
    return (ModeSource){.log_dt = call->in[DIAGONAL_LOG_DT]->data,
                        .A_real = call->in[DIAGONAL_A_REAL]->data,
                        .A_imag = call->in[DIAGONAL_A_IMAG]->data,
                        .C = call->in[DIAGONAL_C]->data,
                        .B = call->in[DIAGONAL_B] ? call->in[DIAGONAL_B]->data : NULL,
                        .D = extent(call->in[DIAGONAL_LOG_DT], 0),
                        .M = extent(call->in[DIAGONAL_A_REAL], 1),
                        .discretisation = discretisation};
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

static inline Mode mode_of(const ModeSource *s, int64_t n) {
    Mode m = {.dt = d_exp(mode_gather(s, s->log_dt, 1, 0))};
    m.lambda =
        (zvector){-d_exp(mode_gather(s, s->A_real, s->M, n)), mode_gather(s, s->A_imag, s->M, n)};
    m.C =
        (zvector){mode_gather(s, s->C, 2 * s->M, 2 * n), mode_gather(s, s->C, 2 * s->M, 2 * n + 1)};
    m.B = (zvector){d_set(1), d_set(0)};
    if (s->B)
        m.B = (zvector){mode_gather(s, s->B, 2 * s->M, 2 * n),
                        mode_gather(s, s->B, 2 * s->M, 2 * n + 1)};
    m.a = z_scale(m.lambda, m.dt);
    const zvector one = {d_set(1), d_set(0)}, half = z_scale(m.a, d_set(0.5));
    if (s->discretisation == DISCRETISATION_ZOH) {
        m.power = z_exp(m.a);
        m.input = z_divide((zvector){m.power.re - 1.0, m.power.im}, m.lambda);
    } else {
        const zvector below = {1.0 - half.re, -half.im};
        m.power = z_divide(z_add(one, half), below);
        m.input = z_divide((zvector){m.dt, d_set(0)}, below);
    }
    return m;
}

/* Gradients of the parameters of mode n from g = sum_l dK_l conj(lambdabar^l), cotangent of c / 2,
 * and h = sum_l l dK_l conj(lambdabar^l), with c = C Bbar. Returns the one of log_dt; adds the
 * others to their arrays where those are not NULL. */
typedef struct ModeSinks {
    float *A_real, *A_imag, *C, *B;
} ModeSinks;

static inline void mode_scatter(const ModeSource *s, float *p, int64_t step, int64_t offset,
                                vdouble x) {
    if (!p) return;
    for (int lane = 0; lane < DOUBLES && s->channel + lane < s->D; lane++)
        p[(s->channel + lane) * step + offset] += (float)x[lane];
}

static inline vdouble mode_gradient(const ModeSource *s, int64_t n, zvector g, zvector h,
                                    const ModeSinks *to) {
    const Mode m = mode_of(s, n);
    const zvector one = {d_set(1), d_set(0)};
    const zvector Bbar = z_multiply(m.B, m.input), c = z_multiply(m.C, Bbar);
    g = z_scale(g, d_set(2));
    zvector G_a = z_multiply(z_conjugate(c), z_scale(h, d_set(2))); /* cotangent of log lambdabar */
    zvector G_lambda = {d_set(0), d_set(0)};
    vdouble G_dt = d_set(0);
    if (s->discretisation == DISCRETISATION_ZOH) {
        /* Bbar = B (e^a - 1) / lambda depends on a and on lambda */
        const zvector CB = z_multiply(m.C, m.B);
        const zvector by_a = z_divide(z_multiply(CB, m.power), m.lambda);
        const zvector by_lambda = z_divide(c, m.lambda);
        G_a = z_add(G_a, z_multiply(z_conjugate(by_a), g));
        G_lambda = z_scale(z_multiply(z_conjugate(by_lambda), g), d_set(-1));
    } else {
        /* d log lambdabar / da = 1 / (1 - a^2 / 4); Bbar = B dt / (1 - a / 2) */
        const zvector square = z_scale(z_multiply(m.a, m.a), d_set(0.25));
        const zvector slope = z_divide(one, (zvector){1.0 - square.re, -square.im});
        const zvector by_a = z_divide(c, (zvector){2.0 - m.a.re, -m.a.im});
        G_a = z_add(z_multiply(z_conjugate(slope), G_a), z_multiply(z_conjugate(by_a), g));
        G_dt = z_multiply(z_conjugate(c), g).re / m.dt;
    }
    G_lambda = z_add(G_lambda, z_scale(G_a, m.dt));
    G_dt += z_multiply(z_conjugate(m.lambda), G_a).re;
    const zvector G_C = z_multiply(z_conjugate(Bbar), g);
    const zvector G_B = z_multiply(z_conjugate(z_multiply(m.C, m.input)), g);
    mode_scatter(s, to->A_real, s->M, n, G_lambda.re * m.lambda.re);
    mode_scatter(s, to->A_imag, s->M, n, G_lambda.im);
    mode_scatter(s, to->C, 2 * s->M, 2 * n, G_C.re);
    mode_scatter(s, to->C, 2 * s->M, 2 * n + 1, G_C.im);
    mode_scatter(s, to->B, 2 * s->M, 2 * n, G_B.re);
    mode_scatter(s, to->B, 2 * s->M, 2 * n + 1, G_B.im);
    return G_dt * m.dt;
}

#endif
