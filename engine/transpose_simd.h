/* Transposition of LANES x LANES floats in registers, for kernels. */
#ifndef LONGHAUL_TRANSPOSE_SIMD_H
#define LONGHAUL_TRANSPOSE_SIMD_H

#include "engine/simd.h"

/* Lower and upper halves of a and b, interleaved: a0 b0 a1 b1 ... */
static inline vfloat v_interleave_low(vfloat a, vfloat b) {
#if LANES == 16
    return __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
#elif LANES == 8
    return __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11);
#else
    return __builtin_shufflevector(a, b, 0, 4, 1, 5);
#endif
}
static inline vfloat v_interleave_high(vfloat a, vfloat b) {
#if LANES == 16
    return __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15,
                                   31);
#elif LANES == 8
    return __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15);
#else
    return __builtin_shufflevector(a, b, 2, 6, 3, 7);
#endif
}

/* The four shuffles work inside each 128-bit quarter of the vectors, where they cost one cycle;
 * pairs of numbers a0 b0 a1 b1 from the lower or upper half of the quarters, and pairs of such
 * pairs. */
#if LANES == 16
#define V_SHUFFLE(a, b, i, j, k, l)                                                                \
    __builtin_shufflevector(a, b, i, j, k, l, (i) + 4, (j) + 4, (k) + 4, (l) + 4, (i) + 8,         \
                            (j) + 8, (k) + 8, (l) + 8, (i) + 12, (j) + 12, (k) + 12, (l) + 12)
#elif LANES == 8
#define V_SHUFFLE(a, b, i, j, k, l)                                                                \
    __builtin_shufflevector(a, b, i, j, k, l, (i) + 4, (j) + 4, (k) + 4, (l) + 4)
#else
#define V_SHUFFLE(a, b, i, j, k, l) __builtin_shufflevector(a, b, i, j, k, l)
#endif

/* row[i] quarter q becomes the four numbers at 4 q + i of the four rows, i < 4. */
static inline void v_transpose_quarters(vfloat row[4]) {
    const vfloat low01 = V_SHUFFLE(row[0], row[1], 0, LANES, 1, LANES + 1);
    const vfloat high01 = V_SHUFFLE(row[0], row[1], 2, LANES + 2, 3, LANES + 3);
    const vfloat low23 = V_SHUFFLE(row[2], row[3], 0, LANES, 1, LANES + 1);
    const vfloat high23 = V_SHUFFLE(row[2], row[3], 2, LANES + 2, 3, LANES + 3);
    row[0] = V_SHUFFLE(low01, low23, 0, 1, LANES, LANES + 1);
    row[1] = V_SHUFFLE(low01, low23, 2, 3, LANES + 2, LANES + 3);
    row[2] = V_SHUFFLE(high01, high23, 0, 1, LANES, LANES + 1);
    row[3] = V_SHUFFLE(high01, high23, 2, 3, LANES + 2, LANES + 3);
}
#undef V_SHUFFLE

/* Exchanges the second half of a with the first half of b, halves of 128-bit quarters taken
 * `apart` quarters apart: one step of transposing the square of quarters. */
#if LANES == 16
static inline void v_exchange(vfloat *a, vfloat *b, int apart) {
    const vfloat x = *a, y = *b;
    if (apart == 2) {
        *a = __builtin_shufflevector(x, y, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23);
        *b = __builtin_shufflevector(x, y, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30,
                                     31);
    } else {
        *a =
            __builtin_shufflevector(x, y, 0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27);
        *b = __builtin_shufflevector(x, y, 4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30,
                                     31);
    }
}
#elif LANES == 8
static inline void v_exchange(vfloat *a, vfloat *b, int apart) {
    (void)apart;
    const vfloat x = *a, y = *b;
    *a = __builtin_shufflevector(x, y, 0, 1, 2, 3, 8, 9, 10, 11);
    *b = __builtin_shufflevector(x, y, 4, 5, 6, 7, 12, 13, 14, 15);
}
#endif

/* row[i] lane j becomes row[j] lane i. */
static inline void v_transpose(vfloat row[LANES]) {
#pragma GCC unroll 4
    for (int i = 0; i < LANES; i += 4) v_transpose_quarters(row + i);
#if LANES > 4
#pragma GCC unroll 4
    for (int apart = LANES / 8; apart > 0; apart /= 2)
#pragma GCC unroll 16
        for (int i = 0; i < LANES; i++)
            if (!(i / 4 & apart)) v_exchange(&row[i], &row[i + 4 * apart], apart);
#endif
}

#endif
