/* What the kernels share: inputs and the notes. */
#ifndef LONGHAUL_OPS_WKV_PLAN_H
#define LONGHAUL_OPS_WKV_PLAN_H

#include "engine/ops/wkv/wkv.h"

enum {
    WKV_K,
    WKV_V,
    WKV_DECAY,
    WKV_U,
    WKV_STATE,
    WKV_INPUTS,
    WKV_P = 0, /* parts of a state, (3, D) */
    WKV_Q,
    WKV_O,
    WKV_PARTS,
    WKV_ROWS = 16,    /* tokens of a chunk; saved: (B, chunks, 3, D) */
    WKV_CHANNELS = 64 /* of one unit of the CPU's work: four vectors of the widest set */
};

/* o of a state without tokens: below any key's exponent, far from infinity. */
#define WKV_EMPTY (-1e30f)

typedef struct WkvPlan {
    int64_t B, L, D, chunks;
} WkvPlan;

static inline WkvPlan wkv_plan(const OpCall *call) {
    const Tensor *k = call->in[WKV_K];
    const int64_t L = extent(k, 1);
    const WkvPlan plan = {extent(k, 0), L, extent(k, 2), (L + WKV_ROWS - 1) / WKV_ROWS};
    return plan;
}

#endif
