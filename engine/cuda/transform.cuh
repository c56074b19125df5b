/* Fourier transforms in device memory, of any power of two of points for D channels side by side:
 * for filters that are made once a batch. Also arithmetic of complex numbers. */
#ifndef LONGHAUL_CUDA_TRANSFORM_H
#define LONGHAUL_CUDA_TRANSFORM_H

#include "engine/cuda/fft.cuh"

__device__ static inline float2 operator*(float s, float2 a) {
    return make_float2(s * a.x, s * a.y);
}
__device__ static inline float2 quarter(float2 a) { /* i a */
    return make_float2(-a.y, a.x);
}
__device__ static inline float2 operator/(float2 a, float2 b) {
    return 1.0f / (b.x * b.x + b.y * b.y) * (a * conjugate(b));
}

struct Transform {
    int64_t n, n1, n2, D; /* n = n1 n2, transformed in two steps */
    float2 *turn;         /* (n): exp(2 pi i k / n) */
    float2 *between;      /* (n, D): between the steps */
};

/* Its memory comes from scratch. */
static inline Transform transform_of(int64_t n, int64_t D, Carver *carver) {
    Transform x = {};
    x.n = n;
    x.D = D;
    for (x.n1 = 1; x.n1 * x.n1 < n;) x.n1 *= 2;
    x.n2 = n / x.n1;
    x.turn = carver->take<float2>(n);
    x.between = carver->take<float2>(n * D);
    return x;
}

/* Before the first transform of a call. */
static inline void transform_prepare(const Run *run, const Transform &x) {
    for_each(run, x.n, [=] __device__(int64_t k) {
        double s, c;
        sincos(6.283185307179586 * (double)k / (double)x.n, &s, &c);
        x.turn[k] = make_float2((float)c, (float)s);
    });
}

/* points (n, D) <- sum_k points_k exp(+-2 pi i k t / n), not scaled: sums of n2 terms, then of n1.
 * More work than a fast transform, in two launches; filters are small beside a batch. */
template <bool INVERSE> void transform(const Run *run, const Transform &x, float2 *points) {
    const int64_t n1 = x.n1, n2 = x.n2, n = x.n, D = x.D;
    const float2 *const turn = x.turn;
    float2 *const between = x.between;
    /* index a n2 + b: a counts n1, b counts n2. Frequencies are b + n2 a, times are a + n1 b */
    for_each(run, n * D, [=] __device__(int64_t i) {
        const int64_t d = i % D, a = i / D / n2, b = i / D % n2;
        float2 sum = make_float2(0, 0);
        for (int64_t j = 0; j < (INVERSE ? n1 : n2); j++) {
            const float2 w = INVERSE ? turn[j * a % n1 * n2] : conjugate(turn[j * b % n2 * n1]);
            sum = sum + w * points[(INVERSE ? b + n2 * j : a + n1 * j) * D + d];
        }
        const float2 w = turn[a * b % n];
        between[i] = sum * (INVERSE ? w : conjugate(w));
    });
    for_each(run, n * D, [=] __device__(int64_t i) {
        const int64_t d = i % D, a = i / D / n2, b = i / D % n2;
        float2 sum = make_float2(0, 0);
        for (int64_t j = 0; j < (INVERSE ? n2 : n1); j++) {
            const float2 w = INVERSE ? turn[j * b % n2 * n1] : conjugate(turn[j * a % n1 * n2]);
            sum = sum + w * between[(INVERSE ? a * n2 + j : j * n2 + b) * D + d];
        }
        points[(INVERSE ? a + n1 * b : b + n2 * a) * D + d] = sum;
    });
}

#endif
