/* One token of test-time training (ops/ttt) in its primal form, for decoding. The state is what the
 * sequence has taken off the weights that it began with, so that it begins with zero:
 *
 *     state[0]   of whole mini-batches: W = W1 - state[0]
 *     state[1]   sum over the tokens of the present one of (base / f) rate_j G_j
 *     y = model(q; W - tau state[1]),  and after the last token state[0] += tau state[1] */
#ifndef LONGHAUL_OPS_TTT_STEP_H
#define LONGHAUL_OPS_TTT_STEP_H

#include "engine/ops/ttt/ttt.h"

/* Numbers of a head's state. */
int64_t ttt_state_floats(const TttInputs *inputs);

/* inputs as those of ttt with L = 1; state (B, H, ttt_state_floats), updated in place and also
 * returned in *next; position int32 (1): the token's place in its sequence -> y (B, 1, H f).
 * Outside of training only. */
Tensor *ttt_step(Tape *tape, const TttInputs *inputs, Tensor *state, Tensor *position,
                 Tensor **next);

#endif
