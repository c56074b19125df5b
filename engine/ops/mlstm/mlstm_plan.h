/* Extents, notes and scratch of the mLSTM kernels.
 *
 * Logarithms are to base 2. With b the sum of log f from the chunk's first token on, including the
 * token itself, and m the stabiliser before the chunk,
 *
 *     s_j = i_j - b_j;  r_i = max(m, s_0 .. s_i);  m_i = b_i + r_i
 *
 * so that token j weighs 2^(s_j - r_i) at token i, the entering state 2^(m - r_i), and in the state
 * behind the chunk token j weighs 2^(s_j - r_last). None of them exceeds 1. */
#ifndef LONGHAUL_OPS_MLSTM_PLAN_H
#define LONGHAUL_OPS_MLSTM_PLAN_H

#include <math.h>

#include "engine/gemm.h"
#include "engine/ops/mlstm/mlstm.h"

enum {
    MLSTM_Q,
    MLSTM_K,
    MLSTM_V,
    MLSTM_GATES,
    MLSTM_INPUTS,
    MLSTM_SAVED_NOTES = 0, /* (B, H, chunks, MLSTM_NOTES, MLSTM_CHUNK) */
    MLSTM_SAVED_STATES,    /* (B, H, chunks - 1, state): C and n before each chunk but the first */
    MLSTM_CHUNK = 64,
    /* Rows of a chunk's notes: */
    MLSTM_NOTE_S = 0,
    MLSTM_NOTE_R,
    MLSTM_NOTE_ENTRY,   /* 2^(m - r_i) */
    MLSTM_NOTE_INVERSE, /* 1 / (normaliser + epsilon) */
    MLSTM_NOTE_SIGN,    /* of n . q where the normaliser is |n . q|, 0 where it is exp(-m) */
    MLSTM_NOTES
};

typedef struct MlstmPlan {
    int64_t B, L, H, dk, dv;
    int64_t chunks;
    int64_t state; /* floats of C (dk, dv) and n (dk), rounded up to a cache line */
    float scale;   /* s */
} MlstmPlan;

static inline MlstmPlan mlstm_plan(const OpCall *call) {
    const Tensor *q = call->in[MLSTM_Q], *v = call->in[MLSTM_V];
    MlstmPlan plan = {0};
    plan.B = extent(q, 0);
    plan.L = extent(q, 1);
    plan.H = ((const Mlstm *)call->attributes)->heads;
    plan.dk = extent(q, 2) / plan.H;
    plan.dv = extent(v, 2) / plan.H;
    plan.chunks = (plan.L + MLSTM_CHUNK - 1) / MLSTM_CHUNK;
    plan.state = (plan.dk * (plan.dv + 1) + 15) / 16 * 16;
    plan.scale = (float)(1 / sqrt((double)plan.dk));
    return plan;
}

/* Floats of a thread's buffers, each rounded up to a cache line, and of its products' workspace. */
static inline int64_t mlstm_line(int64_t floats) {
    return (floats + 15) / 16 * 16;
}
static inline int64_t mlstm_thread_floats(const MlstmPlan *plan, Phase phase) {
    const int64_t keys = mlstm_line(MLSTM_CHUNK * plan->dk);
    const int64_t values = mlstm_line(MLSTM_CHUNK * plan->dv), square = MLSTM_CHUNK * MLSTM_CHUNK;
    if (phase == PHASE_FORWARD) /* P; q, k weighted; notes; state */
        return square + 2 * keys + MLSTM_NOTES * MLSTM_CHUNK + plan->state;
    /* P, dS; k weighted, dq, dk; dU twice, v weighted; the state's gradient */
    return 2 * square + 3 * keys + 3 * values + plan->state;
}
static inline size_t mlstm_workspace(const MlstmPlan *plan) {
    const int64_t T = MLSTM_CHUNK, wide = plan->dk > plan->dv ? plan->dk : plan->dv;
    const int64_t deep = wide > T ? wide : T;
    return gemm_workspace(GEMM_NN, T, deep, deep, 1);
}

void mlstm_reference(const ReferenceCall *call);

#endif
