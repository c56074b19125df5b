/* One token of a discretised DPLR state space (engine/ops/dplr_modes/dplr_system.h) with the skip
 * term: w = 2 E s + dt E B u,   s' = w - sum_r f_r (q_r . w) - s,   y = c . s' + skip u. */
#ifndef LONGHAUL_DPLR_STEP_H
#define LONGHAUL_DPLR_STEP_H

#include "engine/tape.h"

extern const Op op_dplr_step;
void dplr_step_reference(const ReferenceCall *call);

enum { DPLR_STEP_STATE, DPLR_STEP_U, DPLR_STEP_MODES, DPLR_STEP_SKIP, DPLR_STEP_INPUTS };

/* state (B, D, 2, M): real parts, imaginary parts; updated in place and also returned in *next. u
 * (B, 1, D), modes (D, 6 + 4 R, M) of dplr_modes, skip (D) or NULL -> y (B, 1, D). Outside of
 * training only. */
Tensor *dplr_step(Tape *tape, Tensor *state, Tensor *u, Tensor *modes, Tensor *skip, Tensor **next);

#endif
