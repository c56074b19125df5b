/* The call as kernels see it: extents, where heads lie, what is kept for backward. */
#ifndef LONGHAUL_OPS_GATED_LINEAR_ATTENTION_PLAN_H
#define LONGHAUL_OPS_GATED_LINEAR_ATTENTION_PLAN_H

#include "engine/ops/gated_linear_attention/gated_linear_attention.h"

enum {
    GATED_Q,
    GATED_K,
    GATED_V,
    GATED_DECAY,
    GATED_STATE,
    GATED_INPUTS,
    GATED_CHUNK = 64, /* C */
    GATED_BLOCK = 16, /* tokens that meet pair by pair */
    GATED_LEVELS = 3  /* spans of GATED_BLOCK << level tokens, up to a chunk */
};

/* Head h of token t of sequence b begins at ((b L + t) H + h) times d or m. Saved: (B, H, chunks,
 * d m), the states before each chunk. */
typedef struct GatedPlan {
    int64_t B, L, H, d, m, chunks;
    int64_t state; /* floats of a head's */
} GatedPlan;

static inline GatedPlan gated_plan(const OpCall *call) {
    GatedPlan plan = {0};
    plan.B = extent(call->in[GATED_Q], 0);
    plan.L = extent(call->in[GATED_Q], 1);
    plan.H = ((const GatedLinearAttention *)call->attributes)->heads;
    plan.d = extent(call->in[GATED_Q], 2) / plan.H;
    plan.m = extent(call->in[GATED_V], 2) / plan.H;
    plan.chunks = (plan.L + GATED_CHUNK - 1) / GATED_CHUNK;
    plan.state = plan.d * plan.m;
    return plan;
}

/* Bytes of scratch of a thread of the CPU. */
size_t gated_linear_attention_scratch(const OpCall *call, Phase phase);

#endif
