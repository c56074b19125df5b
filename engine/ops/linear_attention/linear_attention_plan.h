/* The call as kernels see it: where heads lie in their tensors, and what is kept for backward. */
#ifndef LONGHAUL_OPS_LINEAR_ATTENTION_PLAN_H
#define LONGHAUL_OPS_LINEAR_ATTENTION_PLAN_H

#include "engine/ops/linear_attention/linear_attention.h"

enum {
    LINEAR_Q,
    LINEAR_K,
    LINEAR_V,
    LINEAR_DECAY,
    LINEAR_LENGTHS,
    LINEAR_STATE,
    LINEAR_GAIN,
    LINEAR_SKIP,
    LINEAR_INPUTS,
    LINEAR_SAVED_STATES = 0,   /* (B, H, chunks, state): before each chunk; bidirectional: of all */
    LINEAR_SAVED_DENOMINATORS, /* (B, L, H); only with normalise */
    LINEAR_CHUNK = 64          /* C */
};

/* Head g of queries at token t of sequence b is at q + (b L + t) q_row + g d; keys and values
 * likewise. */
typedef struct LinearPlan {
    int64_t B, L, H, G, d, m;
    int64_t chunks, notes; /* notes: states kept for each head */
    int64_t state;         /* floats of one */
    bool constant;         /* decays are (H) */
    int64_t q_column, k_column, v_column, q_row, k_row, v_row;
    int q_input, k_input, v_input; /* which input holds the part */
} LinearPlan;

static inline LinearPlan linear_attention_plan(const OpCall *call) {
    const LinearAttention *a = (const LinearAttention *)call->attributes;
    const Tensor *q = call->in[LINEAR_Q];
    const bool packed = !call->in[LINEAR_K];
    LinearPlan plan = {0};
    plan.B = extent(q, 0);
    plan.L = extent(q, 1);
    plan.H = a->heads;
    plan.G = a->groups;
    plan.d = a->key_width;
    plan.m = a->value_width;
    plan.chunks = (plan.L + LINEAR_CHUNK - 1) / LINEAR_CHUNK;
    plan.notes = a->causal ? plan.chunks : 1;
    plan.state = linear_attention_state(a);
    plan.constant = call->in[LINEAR_DECAY] && call->in[LINEAR_DECAY]->shape.rank == 1;
    plan.q_input = LINEAR_Q;
    plan.k_input = packed ? LINEAR_Q : LINEAR_K;
    plan.v_input = packed ? LINEAR_Q : LINEAR_V;
    plan.k_column = packed ? plan.G * plan.d : 0;
    plan.v_column = 2 * plan.k_column;
    plan.q_row = extent(q, 2);
    plan.k_row = packed ? plan.q_row : plan.G * plan.d;
    plan.v_row = packed ? plan.q_row : plan.H * plan.m;
    return plan;
}

/* Bytes of scratch of a thread of the CPU. */
size_t linear_attention_scratch(const OpCall *call, Phase phase);

/* Tokens of sequence b whose keys count; lengths: NULL for all. */
static inline int64_t linear_attention_keys(const LinearPlan *plan, const int32_t *lengths,
                                            int64_t b) {
    if (!lengths || lengths[b] > plan->L) return plan->L;
    return lengths[b] < 0 ? 0 : lengths[b];
}

#endif
