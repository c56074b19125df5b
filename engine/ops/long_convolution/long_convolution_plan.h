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

enum { LONG_CONVOLUTION_LINES = 4 }; /* at most */

/* Buffers of one thread. */
static inline int long_convolution_buffers(int64_t B, Phase phase) {
    return phase == PHASE_FORWARD ? 2 : B > 1 ? 4 : 3;
}

/* How many lines of FFT_LANES channels a thread convolves side by side. Forward one, whose buffers
 * the second-level cache may hold. Backward moves more than twice as many tensors, so there memory
 * decides, where a token's channels lie one after the other and its neighbours in time are a row
 * away: up to four, two where a buffer of four would exceed 8 MiB, and fewer where threads would
 * have more to do than by single lines. Bits do not depend on it. */
static inline int64_t long_convolution_lines(const Fft *fft, int64_t D, int threads, Phase phase) {
    if (phase == PHASE_FORWARD) return 1;
    const int64_t all = (D + FFT_LANES - 1) / FFT_LANES, least = (all + threads - 1) / threads;
    for (int64_t lines = fft->points > 1 << 14 ? 2 : LONG_CONVOLUTION_LINES; lines > 1; lines--) {
        const int64_t units = (all + lines - 1) / lines;
        if ((units + threads - 1) / threads * lines <= least) return lines;
    }
    return 1;
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
