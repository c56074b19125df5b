/* The call as kernels see it. */
#ifndef LONGHAUL_OPS_TAYLOR_PLAN_H
#define LONGHAUL_OPS_TAYLOR_PLAN_H

#include <math.h>

#include "engine/ops/taylor_attention/taylor_attention.h"

enum {
    TAYLOR_QKV,
    TAYLOR_STATE,
    TAYLOR_INPUTS,
    TAYLOR_SAVED_DENOMINATORS = 0, /* (B, L, H), epsilon included */
    TAYLOR_SAVED_STATES,           /* (B, H, chunks, state): before each chunk; with states only */
    TAYLOR_TILE = 64               /* C */
};

typedef struct TaylorPlan {
    int64_t B, L, H, d, m, F;
    int64_t row;   /* channels of a token */
    int64_t tiles; /* of C tokens, in a sequence */
    int64_t state; /* floats of a head */
    bool pairs;    /* a sequence is one chunk, of all its pairs; otherwise every tile is one */
    bool starts;   /* from a state that is given, and leaves one */
    float scale;   /* 1 / sqrt(d) */
} TaylorPlan;

/* A token costs L (d + m) FLOPs as pairs, and 4 F m with a state that it reads and adds to. */
static inline TaylorPlan taylor_plan(const OpCall *call) {
    const TaylorAttention *a = (const TaylorAttention *)call->attributes;
    const Tensor *qkv = call->in[TAYLOR_QKV];
    TaylorPlan plan = {0};
    plan.B = extent(qkv, 0);
    plan.L = extent(qkv, 1);
    plan.H = a->heads;
    plan.d = a->key_width;
    plan.m = a->value_width;
    plan.F = taylor_features(plan.d);
    plan.row = plan.H * (2 * plan.d + plan.m);
    plan.tiles = (plan.L + TAYLOR_TILE - 1) / TAYLOR_TILE;
    plan.state = taylor_attention_state(a);
    plan.starts = input_of(call, TAYLOR_STATE) != NULL;
    plan.pairs = !plan.starts && plan.L * (plan.d + plan.m) <= 4 * plan.F * plan.m;
    plan.scale = (float)(1 / sqrt((double)plan.d));
    return plan;
}

/* Of head h of token t of sequence b: where its queries, keys, values and results begin. */
#ifdef __CUDACC__
#define TAYLOR_INLINE __host__ __device__ static inline
#else
#define TAYLOR_INLINE static inline
#endif
TAYLOR_INLINE int64_t taylor_q(const TaylorPlan *plan, int64_t b, int64_t t, int64_t h) {
    return (b * plan->L + t) * plan->row + h * plan->d;
}
TAYLOR_INLINE int64_t taylor_k(const TaylorPlan *plan, int64_t b, int64_t t, int64_t h) {
    return taylor_q(plan, b, t, h) + plan->H * plan->d;
}
TAYLOR_INLINE int64_t taylor_v(const TaylorPlan *plan, int64_t b, int64_t t, int64_t h) {
    return (b * plan->L + t) * plan->row + 2 * plan->H * plan->d + h * plan->m;
}
TAYLOR_INLINE int64_t taylor_out(const TaylorPlan *plan, int64_t b, int64_t t, int64_t h) {
    return ((b * plan->L + t) * plan->H + h) * plan->m;
}

/* Bytes of scratch of a thread of the CPU. */
size_t taylor_scratch(const OpCall *call, Phase phase);

void taylor_attention_reference(const ReferenceCall *call);

#endif
