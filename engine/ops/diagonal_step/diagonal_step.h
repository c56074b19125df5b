/* One token of a diagonal state space in recurrent form (S4D, Gu et al. 2022, section 3.1), with
 * the input matrix moved into c (ops/diagonal_modes) and the skip term:
 *     s' = lambdabar s + u,   y = 2 Re sum_n c_n s'_n + skip u. */
#ifndef LONGHAUL_DIAGONAL_STEP_H
#define LONGHAUL_DIAGONAL_STEP_H

#include "engine/tape.h"

extern const Op op_diagonal_step;
void diagonal_step_reference(const ReferenceCall *call);

enum {
    DIAGONAL_STEP_STATE,
    DIAGONAL_STEP_U,
    DIAGONAL_STEP_MODES,
    DIAGONAL_STEP_SKIP,
    DIAGONAL_STEP_INPUTS
};

/* state (B, D, 2, M): real parts, imaginary parts; updated in place and also returned in *next.
 * u (B, 1, D), modes (D, 4, M), skip (D) or NULL -> y (B, 1, D). Outside of training only. */
Tensor *diagonal_step(Tape *tape, Tensor *state, Tensor *u, Tensor *modes, Tensor *skip,
                      Tensor **next);

#endif
