/* The two-level powers of the kernel: l = q T + r, lambdabar^l = (lambdabar^T)^q lambdabar^r. The
 * table of lambdabar^r holds T powers of M modes for a block of channels; powers by q come one
 * after the other. */
#ifndef LONGHAUL_VANDERMONDE_PLAN_H
#define LONGHAUL_VANDERMONDE_PLAN_H

#include "engine/gemm.h"
#include "engine/ops/vandermonde/vandermonde.h"

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

/* ---- modes that all channels share ---- */

/* Powers of so many modes, (SHARED_ROWS, 2, SHARED_MODES), are a matrix that stays in the
 * second-level cache beside the gradients of so many channels. From the shape alone, so that
 * threads change no bit. */
enum { SHARED_ROWS = 128, SHARED_MODES = 64, SHARED_CHANNELS = 64 };

static inline bool vandermonde_shared(const OpCall *call) {
    return extent(call->in[DIAGONAL_A_REAL], 0) == 1 && extent(call->in[DIAGONAL_C], 0) > 1;
}

/* Modes, with room for whole vectors. */
static inline int64_t shared_padded(int64_t M) {
    return (M + VANDERMONDE_LANES - 1) / VANDERMONDE_LANES * VANDERMONDE_LANES;
}
static inline int64_t shared_tiles(int64_t M) {
    return (M + SHARED_MODES - 1) / SHARED_MODES;
}

/* Floats of all threads. Forward: the weights of the powers; backward: log_dt's gradient, two
 * doubles a tile of modes. */
static inline int64_t shared_common_floats(int64_t D, int64_t M, Phase phase) {
    return phase == PHASE_FORWARD ? D * 2 * shared_padded(M) : (4 * shared_tiles(M) + 15) / 16 * 16;
}

/* Floats of one thread: powers and a product's workspace; backward: gradients of SHARED_CHANNELS
 * channels, plain and weighted, their products with the powers, the sums of these in double
 * precision, and two complex sums over channels. */
static inline int64_t shared_own_floats(int64_t D, Phase phase) {
    const int64_t powers = SHARED_ROWS * 2 * SHARED_MODES, results = 2 * SHARED_CHANNELS;
    if (phase == PHASE_FORWARD)
        return powers + (int64_t)(gemm_workspace(GEMM_NT, SHARED_ROWS, D, 2 * SHARED_MODES, 1) /
                                  sizeof(float));
    return powers + SHARED_ROWS * results + 3 * results * 2 * SHARED_MODES + 8 * SHARED_MODES +
           (int64_t)(gemm_workspace(GEMM_TN, results, 2 * SHARED_MODES, SHARED_ROWS, 1) /
                     sizeof(float));
}

#endif
