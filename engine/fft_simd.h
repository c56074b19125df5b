/* Butterflies of engine/fft.h on vectors of complex numbers: what a kernel file needs to fuse the
 * first and the last pass of a transform with reading its input and writing its output. */
#ifndef LONGHAUL_FFT_SIMD_H
#define LONGHAUL_FFT_SIMD_H

#include "engine/fft.h"
#include "engine/simd.h"

typedef struct vcomplex {
    vfloat re, im;
} vcomplex;

ALWAYS_INLINE vcomplex c_load(const float *buffer, int64_t place) {
    const float *at = buffer + place * 2 * LANES;
    return (vcomplex){v_load(at), v_load(at + LANES)};
}
ALWAYS_INLINE void c_store(float *buffer, int64_t place, vcomplex x) {
    float *at = buffer + place * 2 * LANES;
    v_store(at, x.re);
    v_store(at + LANES, x.im);
}
ALWAYS_INLINE vcomplex c_add(vcomplex a, vcomplex b) {
    return (vcomplex){a.re + b.re, a.im + b.im};
}
ALWAYS_INLINE vcomplex c_subtract(vcomplex a, vcomplex b) {
    return (vcomplex){a.re - b.re, a.im - b.im};
}
/* -i x and i x */
ALWAYS_INLINE vcomplex c_quarter_back(vcomplex x) {
    return (vcomplex){x.im, -x.re};
}
ALWAYS_INLINE vcomplex c_quarter(vcomplex x) {
    return (vcomplex){-x.im, x.re};
}
/* exp(-i pi / 4) x and exp(i pi / 4) x */
ALWAYS_INLINE vcomplex c_eighth_back(vcomplex x) {
    return (vcomplex){(x.re + x.im) * 0.70710678f, (x.im - x.re) * 0.70710678f};
}
ALWAYS_INLINE vcomplex c_eighth(vcomplex x) {
    return (vcomplex){(x.re - x.im) * 0.70710678f, (x.im + x.re) * 0.70710678f};
}
ALWAYS_INLINE vcomplex c_conjugate(vcomplex a) {
    return (vcomplex){a.re, -a.im};
}
ALWAYS_INLINE vcomplex c_scale(vcomplex a, vfloat factor) {
    return (vcomplex){a.re * factor, a.im * factor};
}
/* a b and a conj b */
ALWAYS_INLINE vcomplex c_product(vcomplex a, vcomplex b) {
    return (vcomplex){a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
}
ALWAYS_INLINE vcomplex c_product_back(vcomplex a, vcomplex b) {
    return (vcomplex){a.re * b.re + a.im * b.im, a.im * b.re - a.re * b.im};
}
/* a / b */
ALWAYS_INLINE vcomplex c_divide(vcomplex a, vcomplex b) {
    return c_scale(c_product_back(a, b), 1.0f / (b.re * b.re + b.im * b.im));
}
/* x w and x conj w for one factor of the table */
ALWAYS_INLINE vcomplex c_turn(vcomplex x, const float *w) {
    return (vcomplex){x.re * w[0] - x.im * w[1], x.re * w[1] + x.im * w[0]};
}
ALWAYS_INLINE vcomplex c_turn_back(vcomplex x, const float *w) {
    return (vcomplex){x.re * w[0] + x.im * w[1], x.im * w[0] - x.re * w[1]};
}

/* Four points to their spectrum in bit-reversed order (frequencies 0, 2, 1, 3), and back without
 * the division by 4. */
ALWAYS_INLINE void butterfly4(vcomplex x[4]) {
    const vcomplex even = c_add(x[0], x[2]), even_odd = c_subtract(x[0], x[2]);
    const vcomplex odd = c_add(x[1], x[3]), turned = c_quarter_back(c_subtract(x[1], x[3]));
    x[0] = c_add(even, odd);
    x[1] = c_subtract(even, odd);
    x[2] = c_add(even_odd, turned);
    x[3] = c_subtract(even_odd, turned);
}
ALWAYS_INLINE void butterfly4_back(vcomplex x[4]) {
    const vcomplex even = c_add(x[0], x[1]), odd = c_subtract(x[0], x[1]);
    const vcomplex even_odd = c_add(x[2], x[3]), turned = c_quarter(c_subtract(x[2], x[3]));
    x[0] = c_add(even, even_odd);
    x[2] = c_subtract(even, even_odd);
    x[1] = c_add(odd, turned);
    x[3] = c_subtract(odd, turned);
}

/* The parts of an eight-point butterfly on either side of the additions x[i] +- x[i + 4]. */
ALWAYS_INLINE void butterfly8_after(vcomplex x[8]) {
    x[5] = c_eighth_back(x[5]);
    x[6] = c_quarter_back(x[6]);
    x[7] = c_quarter_back(c_eighth_back(x[7]));
    butterfly4(x);
    butterfly4(x + 4);
}
ALWAYS_INLINE void butterfly8_before_back(vcomplex x[8]) {
    butterfly4_back(x);
    butterfly4_back(x + 4);
    x[5] = c_eighth(x[5]);
    x[6] = c_quarter(x[6]);
    x[7] = c_quarter(c_eighth(x[7]));
}
ALWAYS_INLINE void butterfly8(vcomplex x[8]) {
    for (int i = 0; i < 4; i++) {
        const vcomplex low = x[i], high = x[i + 4];
        x[i] = c_add(low, high);
        x[i + 4] = c_subtract(low, high);
    }
    butterfly8_after(x);
}
ALWAYS_INLINE void butterfly8_back(vcomplex x[8]) {
    butterfly8_before_back(x);
    for (int i = 0; i < 4; i++) {
        const vcomplex even = x[i], odd = x[i + 4];
        x[i] = c_add(even, odd);
        x[i + 4] = c_subtract(even, odd);
    }
}

/* Sixteen points: four by four. The factors between are exp(-i pi k / 8). */
ALWAYS_INLINE vcomplex c_sixteenths_back(vcomplex x, int k) {
    static const float w[10][2] = {[1] = {0.92387953f, -0.38268343f},
                                   [3] = {0.38268343f, -0.92387953f},
                                   [9] = {-0.92387953f, 0.38268343f}};
    if (k == 0) return x;
    if (k == 2) return c_eighth_back(x);
    if (k == 4) return c_quarter_back(x);
    if (k == 6) return c_quarter_back(c_eighth_back(x));
    return c_turn(x, w[k]);
}
ALWAYS_INLINE vcomplex c_sixteenths(vcomplex x, int k) {
    static const float w[10][2] = {[1] = {0.92387953f, -0.38268343f},
                                   [3] = {0.38268343f, -0.92387953f},
                                   [9] = {-0.92387953f, 0.38268343f}};
    if (k == 0) return x;
    if (k == 2) return c_eighth(x);
    if (k == 4) return c_quarter(x);
    if (k == 6) return c_quarter(c_eighth(x));
    return c_turn_back(x, w[k]);
}
ALWAYS_INLINE void butterfly16(vcomplex x[16]) {
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
        vcomplex y[4] = {x[j], x[j + 4], x[j + 8], x[j + 12]};
        butterfly4(y);
        x[j] = y[0];
        x[j + 4] = c_sixteenths_back(y[1], 2 * j);
        x[j + 8] = c_sixteenths_back(y[2], j);
        x[j + 12] = c_sixteenths_back(y[3], 3 * j);
    }
#pragma GCC unroll 4
    for (int j = 0; j < 16; j += 4) butterfly4(x + j);
}
ALWAYS_INLINE void butterfly16_back(vcomplex x[16]) {
#pragma GCC unroll 4
    for (int j = 0; j < 16; j += 4) butterfly4_back(x + j);
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
        vcomplex y[4] = {x[j], c_sixteenths(x[j + 4], 2 * j), c_sixteenths(x[j + 8], j),
                         c_sixteenths(x[j + 12], 3 * j)};
        butterfly4_back(y);
        x[j] = y[0];
        x[j + 4] = y[1];
        x[j + 8] = y[2];
        x[j + 12] = y[3];
    }
}

#endif
