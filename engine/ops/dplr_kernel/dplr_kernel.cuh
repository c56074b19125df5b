/* What the kernels of a DPLR kernel share: shapes and arithmetic. */
#ifndef LONGHAUL_DPLR_KERNEL_CUH
#define LONGHAUL_DPLR_KERNEL_CUH

#include "engine/cuda/modes.cuh"
#include "engine/cuda/transform.cuh"
#include "engine/ops/dplr_kernel/dplr_kernel.h"

struct Dplr {
    const float *log_dt, *A_real, *A_imag, *P, *B, *C[2];
    int64_t D, S, M, n, L;
    int R, kernels, products;
    float *beta;         /* (S, DPLR_MOST_RANK) */
    float *sine;         /* (n + 1): sin(pi k / 2 n) */
    float *coefficients; /* (D, M, 2 + 2 products) */
    float2 *points[2];   /* (kernels, n + 1, D): values at the nodes, points of a transform */
    Transform transform; /* of n points */
    int64_t stride() const {
        return 2 + 2 * products;
    }
};

/* Parts of scratch that both phases have; base 0 counts their bytes. */
static inline Dplr dplr_of(const OpCall *call, Carver *carver) {
    const DplrKernel *attributes = static_cast<const DplrKernel *>(call->attributes);
    Dplr x = {};
    x.log_dt = data_of(call, DPLR_LOG_DT);
    x.A_real = data_of(call, DPLR_A_REAL);
    x.A_imag = data_of(call, DPLR_A_IMAG);
    x.P = data_of(call, DPLR_P);
    x.B = data_of(call, DPLR_B);
    x.kernels = input_of(call, DPLR_C_REVERSE) ? 2 : 1;
    for (int i = 0; i < x.kernels; i++) x.C[i] = data_of(call, DPLR_C + i);
    x.D = extent(call->in[DPLR_LOG_DT], 0);
    x.S = extent(call->in[DPLR_A_REAL], 0);
    x.M = extent(call->in[DPLR_A_REAL], 1);
    x.R = (int)extent(call->in[DPLR_P], 0);
    x.products = (x.kernels + x.R) * (1 + x.R);
    x.n = attributes->period / 2;
    x.L = attributes->length;
    x.beta = carver->take<float>(x.S * DPLR_MOST_RANK);
    x.sine = carver->take<float>(x.n + 1);
    x.coefficients = carver->take<float>(x.D * x.M * x.stride());
    for (int i = 0; i < x.kernels; i++) x.points[i] = carver->take<float2>((x.n + 1) * x.D);
    x.transform = transform_of(x.n, x.D, carver);
    return x;
}

/* One mode of one channel, in double precision; right: B less beta P, then P. */
struct DplrMode {
    double dt;
    Complex lambda, z, left[2 + DPLR_MOST_RANK], right[1 + DPLR_MOST_RANK];
};

__device__ static inline Complex complex_at(const float *array, int64_t i) {
    return {(double)array[2 * i], (double)array[2 * i + 1]};
}

__device__ static inline DplrMode dplr_mode(const Dplr &x, int64_t d, int64_t n) {
    DplrMode m;
    const int64_t set = d % x.S;
    m.dt = exp((double)x.log_dt[d]);
    m.lambda = {-exp((double)x.A_real[set * x.M + n]), (double)x.A_imag[set * x.M + n]};
    m.z = m.dt * m.lambda;
    m.right[0] = complex_at(x.B, set * x.M + n);
    for (int i = 0; i < x.kernels; i++) m.left[i] = complex_at(x.C[i], d * x.M + n);
    for (int r = 0; r < x.R; r++) {
        m.right[1 + r] = complex_at(x.P, (r * x.S + set) * x.M + n);
        m.left[x.kernels + r] = conjugate(m.right[1 + r]);
        m.right[0] = m.right[0] - (double)x.beta[set * DPLR_MOST_RANK + r] * m.right[1 + r];
    }
    return m;
}

/* Tables and coefficients (dplr_kernel_cpu.c says what those are). */
static inline void dplr_prepare(const Run *run, const Dplr &x) {
    for_each(run, x.n + 1, [=] __device__(int64_t k) {
        double s, c;
        sincos(1.5707963267948966 * (double)k / (double)x.n, &s, &c);
        x.sine[k] = (float)s;
    });
    transform_prepare(run, x.transform);
    for_each(run, x.S, [=] __device__(int64_t set) {
        const int64_t at = set * x.M * 2;
        dplr_multiples(x.B + at, x.P + at, x.S * x.M * 2, x.R, x.M, x.beta + set * DPLR_MOST_RANK);
    });
    for_each(run, x.D * x.M, [=] __device__(int64_t at) {
        const DplrMode m = dplr_mode(x, at / x.M, at % x.M);
        float *to = x.coefficients + at * (2 + 2 * x.products);
        *to++ = (float)(m.z.re * m.z.re + m.z.im * m.z.im);
        *to++ = (float)m.z.re;
        for (int i = 0; i < x.kernels + x.R; i++)
            for (int j = 0; j <= x.R; j++) {
                const Complex v = m.dt * (m.left[i] * m.right[j]);
                *to++ = (float)(4 * v.re);
                *to++ = (float)(2 * (v.re * m.z.re + v.im * m.z.im));
            }
    });
}

/* exp(2 pi i k / period) */
__device__ static inline float2 dplr_turn(const Dplr &x, int64_t k) {
    const float s = x.sine[k], c = x.sine[x.n - k];
    return make_float2(c * c - s * s, 2 * s * c);
}

#endif
