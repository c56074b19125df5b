/* One token of the matrix memory (engine/ops/mlstm/mlstm.h), the recurrent form, in place. */
#ifndef LONGHAUL_OPS_MLSTM_STEP_H
#define LONGHAUL_OPS_MLSTM_STEP_H

#include "engine/tape.h"

enum {
    MLSTM_STEP_C,
    MLSTM_STEP_N,
    MLSTM_STEP_M,
    MLSTM_STEP_Q,
    MLSTM_STEP_K,
    MLSTM_STEP_V,
    MLSTM_STEP_GATES,
    MLSTM_STEP_INPUTS,
    MLSTM_STEP_C_NEXT = 0, /* outputs */
    MLSTM_STEP_H,
    MLSTM_STEP_N_NEXT,
    MLSTM_STEP_M_NEXT
};

/* What a head remembers: C (B, H, dk, dv), n (B, H, dk), m (B, H), all zero before the first token.
 */
typedef struct MlstmState {
    Tensor *C, *n, *m;
} MlstmState;

extern const Op op_mlstm_step;

/* q, k (B, 1, H dk), v (B, 1, H dv), gates (B, 1, 2 H) -> (B, 1, H dv). *next receives the state
 * behind the token; its C lies where that of the state was. */
Tensor *mlstm_step(Tape *tape, const MlstmState *state, Tensor *q, Tensor *k, Tensor *v,
                   Tensor *gates, MlstmState *next);

void mlstm_step_reference(const ReferenceCall *call);

#endif
