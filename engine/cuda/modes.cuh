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

struct ModeParameters {
    const float *log_dt, *A_real, *A_imag, *C, *B;
    int64_t D, M;
    Discretisation discretisation;
};

static inline ModeParameters mode_parameters(const OpCall *call, Discretisation discretisation) {
    ModeParameters p = {};
    p.log_dt = data_of(call, DIAGONAL_LOG_DT);
    p.A_real = data_of(call, DIAGONAL_A_REAL);
    p.A_imag = data_of(call, DIAGONAL_A_IMAG);
    p.C = data_of(call, DIAGONAL_C);
    p.B = data_of(call, DIAGONAL_B);
    p.D = extent(call->in[DIAGONAL_A_REAL], 0);
    p.M = extent(call->in[DIAGONAL_A_REAL], 1);
    p.discretisation = discretisation;
    return p;
}

struct DiscreteMode {
    Complex lambda, a, log_step, step; /* lambda, dt lambda, log lambdabar, lambdabar */
    Complex input, B, C, c;            /* Bbar / B; c = C Bbar */
    double dt;
};

/* at = d M + n */
__device__ static inline DiscreteMode discrete_mode(const ModeParameters &p, int64_t at) {
    DiscreteMode m;
    const Complex one = {1, 0};
    m.dt = exp((double)p.log_dt[at / p.M]);
    m.lambda = {-exp((double)p.A_real[at]), (double)p.A_imag[at]};
    m.a = m.dt * m.lambda;
    m.C = {(double)p.C[2 * at], (double)p.C[2 * at + 1]};
    m.B = one;
    if (p.B) m.B = {(double)p.B[2 * at], (double)p.B[2 * at + 1]};
    if (p.discretisation == DISCRETISATION_ZOH) {
        m.step = exponential(m.a);
        m.log_step = m.a;
        m.input = (m.step - one) / m.lambda;
    } else {
        const Complex half = 0.5 * m.a;
        m.step = (one + half) / (one - half);
        m.log_step = {0.5 * log(m.step.re * m.step.re + m.step.im * m.step.im),
                      atan2(m.step.im, m.step.re)};
        m.input = Complex{m.dt, 0} / (one - half);
    }
    m.c = m.C * (m.B * m.input);
    return m;
}

/* lambdabar^l; from the logarithm, so that no error builds up over the powers. */
__device__ static inline Complex mode_power(const DiscreteMode &m, double l) {
    return exponential(l * m.log_step);
}

#endif
