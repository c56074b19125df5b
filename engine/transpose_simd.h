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

/* row[i] lane j becomes row[j] lane i: log2(LANES) rounds, each interleaving the two halves of the
 * rows (a perfect shuffle of the element index, which rotates its bits by one). */
static inline void v_transpose(vfloat row[LANES]) {
    for (int round = LANES; round > 1; round /= 2) {
        vfloat mixed[LANES];
        for (int i = 0; i < LANES / 2; i++) {
            mixed[2 * i] = v_interleave_low(row[i], row[i + LANES / 2]);
            mixed[2 * i + 1] = v_interleave_high(row[i], row[i + LANES / 2]);
        }
        for (int i = 0; i < LANES; i++) row[i] = mixed[i];
    }
}

#endif
