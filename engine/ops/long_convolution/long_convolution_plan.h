/* Which way a long convolution goes and what memory it needs: from shapes alone. */
#ifndef LONGHAUL_LONG_CONVOLUTION_PLAN_H
#define LONGHAUL_LONG_CONVOLUTION_PLAN_H

#include "engine/fft.h"
#include "engine/ops/long_convolution/long_convolution.h"

static inline bool long_convolution_is_direct(int64_t L, int64_t K) {
    return L <= LONG_CONVOLUTION_DIRECT || K <= LONG_CONVOLUTION_DIRECT;
}

/* Points of the transform: the power of two from L on (engine/fft.h). */
static inline int64_t long_convolution_points(int64_t L) {
    int64_t points = FFT_LEAST;
    while (points < L) points *= 2;
    return points;
}

/* Buffers of one thread. */
static inline int long_convolution_buffers(int64_t B, Phase phase) {
    return phase == PHASE_FORWARD ? 2 : B > 1 ? 4 : 3;
}

/* The table of factors at the start of the scratch, rounded up to whole cache lines. */
static inline int64_t long_convolution_table_floats(const Fft *fft) {
    return (fft_factor_floats(fft) + 15) / 16 * 16;
}

/* Direct way: tiles of DIRECT_TILE tokens by as many taps. Taps are counted from -K (reverse
 * filter) to K - 1 and rounded up to whole tiles; sequences lie between as many zeros as a tile can
 * reach. */
enum { DIRECT_TILE = 8, DIRECT_PADDING = 2 * DIRECT_TILE };

static inline int64_t direct_sequence_vectors(int64_t L) {
    return L + 2 * DIRECT_PADDING;
}
static inline int64_t direct_filter_vectors(int64_t K) {
    return 2 * K + DIRECT_TILE;
}
/* Vectors of one thread: x, its cotangent, taps, their gradient. */
static inline int64_t direct_vectors(int64_t L, int64_t K) {
    return 2 * direct_sequence_vectors(L) + 2 * direct_filter_vectors(K);
}

#endif
