/* The call as kernels see it. */
#ifndef LONGHAUL_OPS_DELTA_RULE_PLAN_H
#define LONGHAUL_OPS_DELTA_RULE_PLAN_H

#include "engine/ops/delta_rule/delta_rule.h"

enum {
    DELTA_Q,
    DELTA_K,
    DELTA_V,
    DELTA_BETA,
    DELTA_DECAY,
    DELTA_STATE,
    DELTA_INPUTS,
    DELTA_SAVED_STATES = 0, /* (B, H, chunks, d m): before each chunk */
    DELTA_CHUNK = 64        /* C */
};

typedef struct DeltaPlan {
    int64_t B, L, H, d, m;
    int64_t chunks;
    int64_t state; /* floats of one, d m */
} DeltaPlan;

static inline DeltaPlan delta_rule_plan(const OpCall *call) {
    const Tensor *k = call->in[DELTA_K], *v = call->in[DELTA_V];
    DeltaPlan plan = {0};
    plan.B = extent(k, 0);
    plan.L = extent(k, 1);
    plan.H = ((const DeltaRule *)call->attributes)->heads;
    plan.d = extent(k, 2) / plan.H;
    plan.m = extent(v, 2) / plan.H;
    plan.chunks = (plan.L + DELTA_CHUNK - 1) / DELTA_CHUNK;
    plan.state = plan.d * plan.m;
    return plan;
}

/* Bytes of scratch of a thread of the CPU. */
size_t delta_rule_scratch(const OpCall *call, Phase phase);

void delta_rule_reference(const ReferenceCall *call);

#endif
