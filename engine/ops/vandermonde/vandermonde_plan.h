/* The two-level powers of the kernel: l = q T + r, lambdabar^l = (lambdabar^T)^q lambdabar^r. The
 * table of lambdabar^r holds T powers of M modes for a block of channels; powers by q come one
 * after the other. */
#ifndef LONGHAUL_VANDERMONDE_PLAN_H
#define LONGHAUL_VANDERMONDE_PLAN_H

#include <stdint.h>

enum {
    VANDERMONDE_MODES = 32, /* taken together: their table fits the second-level cache */
    VANDERMONDE_LANES = 16, /* of the widest instruction set */
    VANDERMONDE_ROWS = 6,   /* largest tile of q */
    VANDERMONDE_COLUMNS = 4 /* tile of r; T is a multiple of it */
};

/* T: at least the root of L, so that both factors are short, but no more than 128, so that the
 * table of 32 modes is half of the second-level cache. */
static inline int64_t vandermonde_columns(int64_t L) {
    int64_t T = VANDERMONDE_COLUMNS;
    while (T < 128 && T * T < L) T *= 2;
    return T;
}

/* Modes of one table. */
static inline int64_t vandermonde_modes(int64_t M) {
    return M < VANDERMONDE_MODES ? M : VANDERMONDE_MODES;
}

/* Floats of one thread. Per mode: 5 complex doubles a channel, the table, a tile of rows with the
 * two sums of backward, and a tile of the kernel's gradient. */
static inline int64_t vandermonde_scratch_floats(int64_t L, int64_t modes) {
    const int64_t T = vandermonde_columns(L), M = vandermonde_modes(modes);
    return VANDERMONDE_LANES * (M * (20 + 2 * T + 2 * VANDERMONDE_ROWS) + VANDERMONDE_ROWS * T);
}

#endif
