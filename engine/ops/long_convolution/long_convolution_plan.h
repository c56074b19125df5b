/* Which way a long convolution goes and what memory it needs: from shapes alone. */
#ifndef LONGHAUL_LONG_CONVOLUTION_PLAN_H
#define LONGHAUL_LONG_CONVOLUTION_PLAN_H

#include "engine/fft.h"
#include "engine/ops/long_convolution/long_convolution.h"

static inline bool long_convolution_is_direct(int64_t L, int64_t K) {
    return L <= LONG_CONVOLUTION_DIRECT || K <= LONG_CONVOLUTION_DIRECT;
}

/* Points of the transform: twice the power of two from L on, so that the second half is free for
 * what wraps around the circle. */
static inline int64_t long_convolution_points(int64_t L) {
    int64_t points = FFT_LEAST;
    while (points < 2 * L) points *= 2;
    return points;
}

/* The table of factors at the start of the scratch, rounded up to whole cache lines. */
static inline int64_t long_convolution_table_floats(const Fft *fft) {
    return (fft_factor_floats(fft) + 15) / 16 * 16;
}

/* Direct way: sequences are padded by DIRECT_TILE zeros on either side, taps are counted from -K
 * (reverse filter) to K - 1 and rounded up to whole tiles. */
enum { DIRECT_TILE = 8 };

static inline int64_t direct_sequence_vectors(int64_t L) {
    return L + 2 * DIRECT_TILE;
}
static inline int64_t direct_filter_vectors(int64_t K) {
    return 2 * K + DIRECT_TILE;
}
/* Vectors of one thread: x, its cotangent, taps, their gradient. */
static inline int64_t direct_vectors(int64_t L, int64_t K) {
    return 2 * direct_sequence_vectors(L) + 2 * direct_filter_vectors(K);
}

#endif
