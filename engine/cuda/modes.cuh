/* Discrete modes of a diagonal state space on the device, in double precision, and the gradients of
 * their parameters (equations: engine/ops/vandermonde/vandermonde.h). */
#ifndef LONGHAUL_CUDA_MODES_H
#define LONGHAUL_CUDA_MODES_H

#include "engine/cuda/grid.cuh"
#include "engine/ops/vandermonde/vandermonde.h"

struct Complex {
    double re, im;
};

__device__ static inline Complex operator+(Complex a, Complex b) {
    return {a.re + b.re, a.im + b.im};
}
__device__ static inline Complex operator-(Complex a, Complex b) {
    return {a.re - b.re, a.im - b.im};
}
__device__ static inline Complex operator*(Complex a, Complex b) {
    return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
}
__device__ static inline Complex operator*(double s, Complex a) {
    return {s * a.re, s * a.im};
}
__device__ static inline Complex conjugate(Complex a) {
    return {a.re, -a.im};
}
__device__ static inline Complex operator/(Complex a, Complex b) {
    return (1.0 / (b.re * b.re + b.im * b.im)) * (a * conjugate(b));
}
__device__ static inline Complex exponential(Complex a) {
    double sine, cosine;
    sincos(a.im, &sine, &cosine);
    const double size = exp(a.re);
    return {size * cosine, size * sine};
}

/* B and C are one where they are NULL. S rows of all but C: D, or one for all channels. */
struct ModeParameters {
    const float *log_dt, *A_real, *A_imag, *C, *B;
    int64_t D, M, S, steps; /* steps: numbers in log_dt for a row */
    DiagonalForm form;
};

static inline ModeParameters mode_parameters(const OpCall *call, DiagonalForm form) {
    ModeParameters p = {};
    p.log_dt = data_of(call, DIAGONAL_LOG_DT);
    p.A_real = data_of(call, DIAGONAL_A_REAL);
    p.A_imag = data_of(call, DIAGONAL_A_IMAG);
    p.C = data_of(call, DIAGONAL_C);
    p.B = data_of(call, DIAGONAL_B);
    p.D = extent(call->in[DIAGONAL_C], 0);
    p.M = extent(call->in[DIAGONAL_C], 1);
    p.S = extent(call->in[DIAGONAL_A_REAL], 0);
    p.steps = p.log_dt ? tensor_size(call->in[DIAGONAL_LOG_DT]) / p.S : 0;
    p.form = form;
    return p;
}

struct DiscreteMode {
    Complex lambda, a, log_step, step; /* lambda, dt lambda, log lambdabar, lambdabar */
    Complex input, B, C, c;            /* Bbar / B; c = C Bbar */
    double dt[2];                      /* of real and imaginary parts */
    double origin;                     /* the power that is 1: not 0 for growing modes (softmax) */
};

/* Where A and B of mode at = d M + n lie. */
__device__ static inline int64_t mode_place(const ModeParameters &p, int64_t at) {
    return p.S == p.D ? at : at % p.M;
}

__device__ static inline Complex mode_lambda(const ModeParameters &p, int64_t place) {
    const double A = (double)p.A_real[place], imaginary = (double)p.A_imag[place];
    double real = A;
    if (p.form.real == REAL_NEGATIVE_EXP) real = -exp(A);
    if (p.form.real == REAL_CLIPPED) real = fmin(A, -1e-4);
    return {real, p.form.imaginary == IMAGINARY_EXP ? exp(imaginary) : imaginary};
}

/* Of the softmax, with E = e^(a' P): E - 1, |x|^2 + epsilon and r(x), x = (E - 1) lambda. */
struct Softmax {
    Complex less_one, reciprocal;
    double square;
};

__device__ static inline Softmax mode_softmax(const ModeParameters &p, Complex lambda,
                                              Complex decay) {
    const Complex one = {1, 0};
    Softmax of;
    of.less_one = exponential((double)p.form.period * decay) - one;
    const Complex x = of.less_one * lambda;
    of.square = x.re * x.re + x.im * x.im + 1e-7;
    of.reciprocal = (1 / of.square) * conjugate(x);
    return of;
}

/* a' of the softmax */
__device__ static inline Complex mode_decay(const DiscreteMode &m) {
    return (m.lambda.re > 0 ? -1.0 : 1.0) * m.a;
}

/* at = d M + n */
__device__ static inline DiscreteMode discrete_mode(const ModeParameters &p, int64_t at) {
    DiscreteMode m;
    const Complex one = {1, 0};
    const int64_t place = mode_place(p, at);
    for (int i = 0; i < 2; i++)
        m.dt[i] = p.log_dt ? exp((double)p.log_dt[place / p.M * p.steps + i % p.steps]) : 1;
    m.lambda = mode_lambda(p, place);
    m.a = {m.dt[0] * m.lambda.re, m.dt[1] * m.lambda.im};
    m.B = m.C = one;
    m.origin = 0;
    if (p.C) m.C = {(double)p.C[2 * at], (double)p.C[2 * at + 1]};
    if (p.B) m.B = {(double)p.B[2 * place], (double)p.B[2 * place + 1]};
    if (p.form.discretisation == DISCRETISATION_BILINEAR) {
        const Complex half = 0.5 * m.a;
        m.step = (one + half) / (one - half);
        m.log_step = {0.5 * log(m.step.re * m.step.re + m.step.im * m.step.im),
                      atan2(m.step.im, m.step.re)};
        m.input = Complex{m.dt[0], 0} / (one - half);
    } else {
        m.step = exponential(m.a);
        m.log_step = m.a;
        m.input = (m.step - one) / m.lambda;
    }
    if (p.form.discretisation == DISCRETISATION_SOFTMAX) {
        const Complex decay = mode_decay(m);
        m.input = (exponential(decay) - one) * mode_softmax(p, m.lambda, decay).reciprocal;
        if (m.lambda.re > 0) m.origin = (double)(p.form.period - 1);
    }
    m.c = m.C * (m.B * m.input);
    return m;
}

/* S at l; from the logarithm, so that no error builds up over the powers. */
__device__ static inline Complex mode_power(const DiscreteMode &m, double l) {
    return exponential((l - m.origin) * m.log_step);
}

/* Cotangents of a, of lambda beside it and, for the bilinear rule, of dt, from h, cotangent of log
 * lambdabar, and g, cotangent of c; as in vandermonde_modes.h. */
struct Cotangents {
    Complex a, lambda;
    double dt;
};

/* g: cotangent of Bbar / B. */
__device__ static inline Cotangents
softmax_cotangents(const ModeParameters &p, const DiscreteMode &m, Complex g, Complex h) {
    const Complex one = {1, 0}, decay = mode_decay(m), power = exponential(decay);
    const Softmax of = mode_softmax(p, m.lambda, decay);
    const Complex to_r = conjugate(power - one) * g;
    const Complex to_x = (1e-7 / (of.square * of.square)) * conjugate(to_r) -
                         conjugate(of.reciprocal * of.reciprocal) * to_r;
    const Complex by_E = (double)p.form.period * ((of.less_one + one) * m.lambda);
    const Complex to_decay = conjugate(by_E) * to_x + conjugate(power * of.reciprocal) * g;
    return {h + (m.lambda.re > 0 ? -1.0 : 1.0) * to_decay, conjugate(of.less_one) * to_x, 0};
}

__device__ static inline Cotangents cotangents(const ModeParameters &p, const DiscreteMode &m,
                                               Complex g, Complex h) {
    const Complex one = {1, 0}, CB = m.C * m.B;
    Cotangents to = {h, {0, 0}, 0};
    if (p.form.discretisation == DISCRETISATION_ZOH) {
        /* Bbar = B (e^a - 1) / lambda */
        to.a = h + conjugate(CB * m.step / m.lambda) * g;
        to.lambda = -1.0 * (conjugate(m.c / m.lambda) * g);
    } else if (p.form.discretisation == DISCRETISATION_BILINEAR) {
        /* d log lambdabar / da = 1 / (1 - a^2 / 4); Bbar = B dt / (1 - a / 2) */
        const Complex slope = one / (one - 0.25 * (m.a * m.a));
        const Complex two = {2, 0};
        to.a = conjugate(slope) * h + conjugate(m.c / (two - m.a)) * g;
        to.dt = (conjugate(m.c) * g).re / m.dt[0];
    } else {
        to = softmax_cotangents(p, m, conjugate(CB) * g, h);
    }
    return to;
}

/* Gradients of lambda's parameters and of the two step sizes. */
struct ModeSlopes {
    double A_real, A_imag, log_dt[2];
};

__device__ static inline ModeSlopes mode_slopes(const ModeParameters &p, const DiscreteMode &m,
                                                int64_t at, Complex g, Complex h) {
    Cotangents of = cotangents(p, m, g, h);
    of.lambda = of.lambda + Complex{m.dt[0] * of.a.re, m.dt[1] * of.a.im};
    double slope = 1; /* of Re lambda in A_real */
    if (p.form.real == REAL_NEGATIVE_EXP) slope = m.lambda.re;
    if (p.form.real == REAL_CLIPPED) slope = (double)p.A_real[mode_place(p, at)] < -1e-4 ? 1 : 0;
    if (p.form.imaginary == IMAGINARY_EXP) of.lambda.im *= m.lambda.im;
    return {of.lambda.re * slope,
            of.lambda.im,
            {m.dt[0] * (of.dt + m.lambda.re * of.a.re), m.dt[1] * (m.lambda.im * of.a.im)}};
}

#endif
