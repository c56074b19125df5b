/* A token mixed with the one before it, channel by channel, in up to three ways at once (RWKV; Peng
 * et al. 2023, arXiv:2305.13048, equations 11 to 13):
 *
 *     y_i[t] = mix_i x[t] + (1 - mix_i) x[t-1]        x[-1] = 0, or the state */
#ifndef LONGHAUL_OPS_TOKEN_SHIFT_H
#define LONGHAUL_OPS_TOKEN_SHIFT_H

#include "engine/tape.h"

enum { TOKEN_SHIFT_MIXES = 3 };

/* x (B, L, D), mix[i] (D) -> y[i] (B, L, D) for i < count <= TOKEN_SHIFT_MIXES. state (B, D), the
 * token before the first, outside of training only; NULL for zero. *next receives the last token.
 */
void token_shift(Tape *tape, Tensor *x, Tensor *const *mix, int count, Tensor *state, Tensor **y,
                 Tensor **next);

/* Inputs of the recorded call; backward sums the gradients of mixes over so many rows at a time,
 * then adds the sums in order. */
enum {
    SHIFT_X,
    SHIFT_STATE,
    SHIFT_MIX,
    SHIFT_INPUTS = SHIFT_MIX + TOKEN_SHIFT_MIXES,
    SHIFT_ROWS = 256
};

static inline int token_shift_count(const OpCall *call) {
    int count = 0;
    while (count < TOKEN_SHIFT_MIXES && call->in[SHIFT_MIX + count]) count++;
    return count;
}

#endif
