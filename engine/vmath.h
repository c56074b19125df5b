/* Elementary functions on vectors of floats, the only ones that kernels use. One source for 16, 8
 * and 4 lanes; tests/test_vmath.c holds every function to the bound stated here, on every
 * instruction set.
 *
 * One ulp is the gap between neighbouring floats at the exact result. Unless a comment says more:
 * NaN gives NaN, infinities give the limit, results below the smallest normal float may be zero.
 *
 * Polynomials are near-minimax on the interval named beside them, fitted with the rounding of their
 * own coefficients taken into account; their truncation error stays below 2^-27 of the result, so
 * what remains is rounding. */
#ifndef LONGHAUL_VMATH_H
#define LONGHAUL_VMATH_H

#include "engine/simd.h"

/* Adding 1.5 * 2^23 leaves the nearest integer in the low bits of the sum (|x| < 2^22). */
#define V_ROUNDER 12582912.0f

static inline vfloat v_sqrt(vfloat x) {
#if defined(__AVX512F__)
    return (vfloat)_mm512_sqrt_ps((__m512)x);
#elif defined(__AVX2__)
    return (vfloat)_mm256_sqrt_ps((__m256)x);
#else
    vfloat root;
    for (int i = 0; i < LANES; i++) root[i] = __builtin_sqrtf(x[i]);
    return root;
#endif
}

static inline vfloat v_reciprocal(vfloat x) {
    return 1.0f / x;
}

/* magnitude (not negative) with the sign of sign. */
static inline vfloat v_with_sign(vfloat magnitude, vfloat sign) {
    const vint bit = (vint){0} + INT32_MIN;
    return (vfloat)((vint)magnitude | ((vint)sign & bit));
}

/* p * 2^n for an n that holds an integer, |n| < 250; 0 and infinity as they should come out. */
static inline vfloat v_scale2(vfloat p, vfloat n) {
#if defined(__AVX512F__)
    return (vfloat)_mm512_scalef_ps((__m512)p, (__m512)n);
#else
    const vint whole = __builtin_convertvector(n, vint), half = whole >> 1;
    return p * (vfloat)((half + 127) << 23) * (vfloat)((whole - half + 127) << 23);
#endif
}

/* x = n ln 2 + r, |r| <= ln(2) / 2, for |x| < 2^20. ln 2 in two parts, n times the first exact. */
static inline vfloat v_reduce_exp(vfloat x, vfloat *r) {
    const vfloat n = (x * 1.44269504f + V_ROUNDER) - V_ROUNDER;
    *r = (x - n * 0.6923828125f) - n * 0.00076436804f;
    return n;
}

/* e^r for |r| <= ln(2) / 2. */
static inline vfloat v_exp_core(vfloat r) {
    vfloat p = r * 0.0013821302f + 0.00836866815f;
    p = p * r + 0.0416682586f;
    p = p * r + 0.166665211f;
    p = p * r + 0.49999994f;
    p = p * r + 1.0f;
    return p * r + 1.0f;
}

/* e^x, 1.25 ulp and a relative error below 1.2e-7. Infinite above 88.73, zero below -104. */
static inline vfloat v_exp(vfloat x) {
    vfloat r;
    const vfloat n = v_reduce_exp(v_max(v_set(-104.0f), v_min(v_set(89.0f), x)), &r);
    return v_scale2(v_exp_core(r), n);
}

/* 2^x for x <= 0, relative error below 1.8e-7 (2.5 ulp); below -126 between 0 and 2^-126. For the
 * inner loops of recurrences, whose cost is this function: at 16 lanes two thirds of the operations
 * of v_exp. A table of 2^(j/32) in two registers leaves |r| <= 1/64 to a polynomial of degree two.
 */
static inline vfloat v_exp2_decay(vfloat x) {
#if defined(__AVX512F__)
    static const float table[32] = {
        1.0f,        1.0218972f,  1.04427373f, 1.06714046f, 1.09050775f, 1.1143868f,  1.13878858f,
        1.1637249f,  1.18920708f, 1.21524739f, 1.24185777f, 1.26905096f, 1.29683959f, 1.32523668f,
        1.35425556f, 1.38390994f, 1.41421354f, 1.44518077f, 1.47682619f, 1.50916445f, 1.54221082f,
        1.5759809f,  1.61049032f, 1.64575553f, 1.68179286f, 1.71861935f, 1.75625217f, 1.79470909f,
        1.8340081f,  1.87416768f, 1.91520655f, 1.95714414f};
    const vfloat rounder = v_set(V_ROUNDER / 32); /* rounds to 32nds; low bits: their number */
    const vfloat shifted = x + rounder, n = shifted - rounder, r = x - n;
    const vfloat power = (vfloat)_mm512_permutex2var_ps((__m512)v_load(table), (__m512i)shifted,
                                                        (__m512)v_load(table + 16));
    const vfloat q = r * 0.24022669f + 0.6931573f;
    return v_scale2((power * r) * q + power, n); /* scales by the floor of n */
#else
    x = v_max(v_set(-127.0f), x); /* there the exponent's bits are those of zero */
    const vfloat shifted = x + V_ROUNDER, r = x - (shifted - V_ROUNDER);
    vfloat p = r * 0.0013264727f + 0.009671513f;
    p = p * r + 0.055507336f;
    p = p * r + 0.24022242f;
    p = p * r + 0.693147f;
    p = p * r + 1.0f;
    return (vfloat)((vuint)p + ((vuint)shifted << 23));
#endif
}

/* The same, and zero for minus infinity: weights of a softmax. */
static inline vfloat v_exp2_weight(vfloat x) {
#if defined(__AVX512F__)
    return v_exp2_decay(v_max(v_set(-151.0f), x)); /* 2^-151 rounds to zero */
#else
    return v_exp2_decay(x);
#endif
}

/* (e^x - 1) / 2 for -104 <= x <= 89: the half keeps 2^n finite where e^x still is. */
static inline vfloat v_half_expm1(vfloat x) {
    vfloat r;
    const vfloat n = v_reduce_exp(x, &r);
    vfloat q = r * 0.000197599627f + 0.00139323168f;
    q = q * r + 0.00833354797f;
    q = q * r + 0.0416664928f;
    q = q * r + 0.166666657f;
    q = q * r + 0.5f;
    q = q * (r * r) + r;
    const vfloat scale = v_scale2(v_set(0.5f), n);
    return scale * q + (scale - 0.5f);
}

/* e^x - 1 without cancellation, 2 ulp. */
static inline vfloat v_expm1(vfloat x) {
    const vfloat half = v_half_expm1(v_max(v_set(-104.0f), v_min(v_set(89.0f), x)));
    return half + half;
}

/* Natural logarithm, 1 ulp. Zero gives -infinity, negative numbers NaN. */
static inline vfloat v_log(vfloat x) {
    /* x = 2^e m with m in [sqrt(1/2), sqrt(2)); subnormal numbers are lifted first. */
    const vint tiny = x < 1.17549435e-38f;
    const vint bits = (vint)v_select(tiny, x * 8388608.0f, x);
    const vint e = (bits - 0x3F3504F3) >> 23;
    const vfloat exponent = __builtin_convertvector(e - (tiny & 23), vfloat);
    const vfloat f = (vfloat)(bits - (e << 23)) - 1.0f;
    vfloat p = f * -0.0763643906f + 0.127622172f;
    p = p * f + -0.131596103f;
    p = p * f + 0.1420158f;
    p = p * f + -0.166234091f;
    p = p * f + 0.200012416f;
    p = p * f + -0.250008196f;
    p = p * f + 0.333333313f;
    const vfloat square = f * f;
    const vfloat low = p * (square * f) + exponent * 0.00076436804f - 0.5f * square;
    const vfloat value = exponent * 0.6923828125f + (f + low);
    const vfloat infinite = v_set(__builtin_inff());
    const vfloat outside = v_select(x == 0.0f, -infinite, v_set(__builtin_nanf("")));
    return v_select(x > 0.0f, v_select(x < infinite, value, x), outside);
}

/* 2.25 ulp; tanh(x) = t / (t + 1) with t = (e^2x - 1) / 2. */
static inline vfloat v_tanh(vfloat x) {
    const vfloat a = v_min(v_set(10.0f), v_abs(x));
    const vfloat t = v_half_expm1(a + a);
    return v_with_sign(t / (t + 1.0f), x);
}

/* 1 / (1 + e^-x), 2.5 ulp: three roundings, the last of them in a finer binade than the others. */
static inline vfloat v_sigmoid(vfloat x) {
    return 1.0f / (1.0f + v_exp(-x));
}

/* ln(1 + y) for 0 <= y <= 1, 2 ulp. */
static inline vfloat v_log1p_unit(vfloat y) {
    vfloat p = y * -0.00330653763f + 0.0201503318f;
    p = p * y + -0.0575615279f;
    p = p * y + 0.10670013f;
    p = p * y + -0.153490975f;
    p = p * y + 0.196931928f;
    p = p * y + -0.24958156f;
    p = p * y + 0.333304703f;
    p = p * y + -0.499999315f;
    return p * (y * y) + y;
}

/* ln(1 + e^x), 2 ulp. Above 20 the result is x itself, as e^-20 is below half an ulp of it. */
static inline vfloat v_softplus(vfloat x) {
    return v_max(v_zero(), x) + v_log1p_unit(v_exp(-v_abs(x)));
}

/* sin(r + n pi) for the nearest integer n; odd lanes of parity change the sign. pi in four parts,
 * n times each of the first three exact up to n = 2^13 even without fused operations. */
static inline vfloat v_sin_reduced(vfloat x, vfloat n, vint parity) {
    vfloat r = x - n * 3.140625f;
    r = r - n * 0.00096750259399414062f;
    const vfloat t = r - n * 1.5099067240953445e-07f; /* rounds: what it lost comes back below */
    const vfloat lost = (r - t) - n * 1.5099067240953445e-07f;
    r = t + (lost - n * 5.1266881365141792e-12f);
    const vfloat square = r * r;
    vfloat p = square * 2.60610295e-06f + -0.000198097783f;
    p = p * square + 0.00833306927f;
    p = p * square + -0.166666597f;
    return (vfloat)((vint)(r + r * (square * p)) ^ (parity << 31));
}

/* 2 ulp for |x| <= 1e4, except that next to a zero of the function the absolute error may be
 * 1e-11 where the instruction set has no fused operation. Worse beyond; infinities give NaN. */
static inline vfloat v_sin(vfloat x) {
    const vfloat shifted = x * 0.318309886f + V_ROUNDER;
    return v_sin_reduced(x, shifted - V_ROUNDER, (vint)shifted);
}

/* As v_sin, but 2.25 ulp; cos(x) = sin(x + pi / 2), so the multiples of pi are half-integers. */
static inline vfloat v_cos(vfloat x) {
    const vfloat shifted = (x * 0.318309886f - 0.5f) + V_ROUNDER;
    return v_sin_reduced(x, (shifted - V_ROUNDER) + 0.5f, (vint)shifted + 1);
}

static inline void v_sincos(vfloat x, vfloat *sine, vfloat *cosine) {
    *sine = v_sin(x);
    *cosine = v_cos(x);
}

/* Error function, 2 ulp: erf(a) = 1 - e^-g(a), where g(a) = -ln erfc(a) is smooth and is fitted on
 * [0, 4]; above 4 the result is 1. */
static inline vfloat v_erf(vfloat x) {
    const vfloat a = v_min(v_set(4.0f), v_abs(x));
    vfloat q = a * -9.38802259e-06f + 0.000118861688f;
    q = q * a + -0.000637364283f;
    q = q * a + 0.00167567725f;
    q = q * a + -0.000169504565f;
    q = q * a + -0.0191478226f;
    q = q * a + 0.102776304f;
    q = q * a + 0.636619568f;
    q = q * a + 0.128379166f;
    const vfloat half = v_half_expm1(-(q * a + a));
    return v_with_sign(-(half + half), x);
}

/* Phi(-a) of the standard normal distribution for 0 <= a <= 11: 2^-h(a) with h fitted on [0, 6].
 * Error below 1e-7 (1 - Phi(-a)), and below 4e-6 Phi(-a) for a <= 6; then it falls on, to zero. */
static inline vfloat v_normal_tail(vfloat a) {
    vfloat h = a * 1.86387101e-08f + -6.00799524e-07f;
    h = h * a + 8.25673214e-06f;
    h = h * a + -6.11588839e-05f;
    h = h * a + 0.000229460871f;
    h = h * a + 9.69938919e-05f;
    h = h * a + -0.00705388421f;
    h = h * a + 0.0525038689f;
    h = h * a + 0.459204048f;
    h = h * a + 1.15110564f;
    h = h * a + 1.0f;
    const vfloat shifted = V_ROUNDER - h;
    const vfloat f = (V_ROUNDER - shifted) - h;
    vfloat p = f * 0.00015329264f + 0.00133909693f;
    p = p * f + 0.00961849932f;
    p = p * f + 0.0555035956f;
    p = p * f + 0.240226477f;
    p = p * f + 0.693147182f;
    p = p * f + 1.0f;
    return (vfloat)((vuint)p + ((vuint)shifted << 23)); /* h < 126: still a normal number */
}

#endif
