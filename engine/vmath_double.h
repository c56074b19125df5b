/* Vectors of LANES / 2 doubles and the elementary functions that discretising a state space needs:
 * phases of 10^5 steps do not survive single precision. Errors stay below 4 ulp (2^-53 each). */
#ifndef LONGHAUL_VMATH_DOUBLE_H
#define LONGHAUL_VMATH_DOUBLE_H

#include "engine/simd.h"

enum { DOUBLES = LANES / 2 };

typedef double vdouble __attribute__((vector_size(4 * LANES)));
typedef int64_t vlong __attribute__((vector_size(4 * LANES)));
typedef float vfloat_half __attribute__((vector_size(2 * LANES)));

static inline vdouble d_set(double x) {
    return x - (vdouble){0};
}
static inline vdouble d_select(vlong mask, vdouble yes, vdouble no) {
    return (vdouble)((mask & (vlong)yes) | (~mask & (vlong)no));
}

/* DOUBLES floats as doubles, and back. */
static inline vdouble d_load_floats(const float *p) {
    vfloat_half x;
    memcpy(&x, p, sizeof x);
    return __builtin_convertvector(x, vdouble);
}
static inline void d_store_floats(float *p, vdouble x) {
    const vfloat_half rounded = __builtin_convertvector(x, vfloat_half);
    memcpy(p, &rounded, sizeof rounded);
}
static inline vdouble d_load(const double *p) {
    vdouble x;
    memcpy(&x, p, sizeof x);
    return x;
}
static inline void d_store(double *p, vdouble x) {
    memcpy(p, &x, sizeof x);
}

/* Adding it leaves the nearest integer in the low bits (|x| < 2^51). */
#define D_ROUNDER 0x1.8p52

/* e^x; below -708 (where e^x is no normal number) as at -708, above 709 as at 709. */
static inline vdouble d_exp(vdouble x) {
    x = d_select(x < -708.0, d_set(-708.0), d_select(x > 709.0, d_set(709.0), x));
    const vdouble shifted = x * 0x1.71547652b82fep0 + D_ROUNDER;
    const vdouble n = shifted - D_ROUNDER;
    const vdouble r = (x - n * 0x1.62e42feep-1) - n * 0x1.a39ef35793c76p-33;
    /* Taylor's series on |r| <= ln(2) / 2: the first term left out is below 2^-57. */
    static const double term[] = {1.0 / 6227020800,
                                  1.0 / 479001600,
                                  1.0 / 39916800,
                                  1.0 / 3628800,
                                  1.0 / 362880,
                                  1.0 / 40320,
                                  1.0 / 5040,
                                  1.0 / 720,
                                  1.0 / 120,
                                  1.0 / 24,
                                  1.0 / 6,
                                  0.5,
                                  1.0,
                                  1.0};
    vdouble p = d_set(term[0]);
    for (int i = 1; i < 14; i++) p = p * r + term[i];
    return (vdouble)((vlong)p + ((vlong)shifted << 52));
}

/* sin x and cos x for |x| < 10^6. */
static inline void d_sincos(vdouble x, vdouble *sine, vdouble *cosine) {
    const vdouble shifted = x * 0x1.45f306dc9c883p-1 + D_ROUNDER;
    const vdouble n = shifted - D_ROUNDER;
    const vlong quadrant = (vlong)shifted;
    /* pi / 2 in three parts, n times the first two exact */
    const vdouble r = ((x - n * 0x1.921fb544p0) - n * 0x1.0b4611a6p-34) - n * 0x1.3198a2e037073p-69;
    const vdouble square = r * r;
    /* Taylor's series on |r| <= pi / 4: the first terms left out are below 2^-58. */
    static const double odd[] = {
        1.0 / 355687428096000, -1.0 / 1307674368000, 1.0 / 6227020800, -1.0 / 39916800,
        1.0 / 362880,          -1.0 / 5040,          1.0 / 120,        -1.0 / 6};
    static const double even[] = {
        1.0 / 20922789888000, -1.0 / 87178291200, 1.0 / 479001600, -1.0 / 3628800,
        1.0 / 40320,          -1.0 / 720,         1.0 / 24,        -0.5};
    vdouble s = d_set(odd[0]), c = d_set(even[0]);
    for (int i = 1; i < 8; i++) {
        s = s * square + odd[i];
        c = c * square + even[i];
    }
    s = r + r * square * s;
    c = 1.0 + square * c;
    const vlong swap = -(quadrant & 1);
    const vlong sine_sign = (quadrant & 2) << 62, cosine_sign = ((quadrant + 1) & 2) << 62;
    *sine = (vdouble)((vlong)d_select(swap, c, s) ^ sine_sign);
    *cosine = (vdouble)((vlong)d_select(swap, s, c) ^ cosine_sign);
}

/* ---- complex numbers ---- */

typedef struct zvector {
    vdouble re, im;
} zvector;

static inline zvector z_conjugate(zvector a) {
    return (zvector){a.re, -a.im};
}
static inline zvector z_add(zvector a, zvector b) {
    return (zvector){a.re + b.re, a.im + b.im};
}
static inline zvector z_subtract(zvector a, zvector b) {
    return (zvector){a.re - b.re, a.im - b.im};
}
static inline zvector z_multiply(zvector a, zvector b) {
    return (zvector){a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
}
static inline zvector z_scale(zvector a, vdouble factor) {
    return (zvector){a.re * factor, a.im * factor};
}
static inline zvector z_divide(zvector a, zvector b) {
    return z_scale(z_multiply(a, z_conjugate(b)), 1.0 / (b.re * b.re + b.im * b.im));
}
static inline zvector z_exp(zvector a) {
    vdouble sine, cosine;
    d_sincos(a.im, &sine, &cosine);
    return z_scale((zvector){cosine, sine}, d_exp(a.re));
}

#endif
