/* Sums over the lanes of several vectors at once. A single v_sum costs a chain of LANES / 2 steps;
 * here LANES rows share the work, some three instructions a row. */
#ifndef LONGHAUL_REDUCE_SIMD_H
#define LONGHAUL_REDUCE_SIMD_H

#include "engine/simd.h"

/* Sums of neighbouring lanes: those of a fill the lower half, those of b the upper one. */
static inline vfloat v_pair_sums(vfloat a, vfloat b) {
#if LANES == 16
    return __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28,
                                   30) +
           __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
#elif LANES == 8
    return __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14) +
           __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15);
#else
    return __builtin_shufflevector(a, b, 0, 2, 4, 6) + __builtin_shufflevector(a, b, 1, 3, 5, 7);
#endif
}

/* Lane r of the result is the sum of the lanes of rows[r]; rows is overwritten. */
static inline vfloat v_sum_rows(vfloat rows[LANES]) {
    for (int half = LANES / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++) rows[i] = v_pair_sums(rows[2 * i], rows[2 * i + 1]);
    return rows[0];
}

/* Zero from lane n on. */
static inline vfloat v_first(vfloat v, int64_t n) {
    vint lane = {0, 1, 2, 3};
    for (int i = 4; i < LANES; i++) lane[i] = i;
    return v_select(lane < (int32_t)n, v, v_zero());
}

#endif
