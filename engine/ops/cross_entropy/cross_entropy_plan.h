/* How the head cuts its work, from the shape alone: shared by the definition and the kernels. */
#ifndef LONGHAUL_CROSS_ENTROPY_PLAN_H
#define LONGHAUL_CROSS_ENTROPY_PLAN_H

#include "engine/gemm.h"
#include "engine/ops/cross_entropy/cross_entropy.h"

enum {
    HEAD_BATCH = 256,              /* rows that backward takes through all its parts together */
    HEAD_STORED_BYTES = 64 << 20,  /* the most that is kept of exponentials for backward */
    HEAD_STREAMED_BYTES = 1 << 20, /* fewer stay in the second-level cache until backward */
};

typedef struct HeadPlan {
    int64_t rows, width, classes; /* R, D, V */
    int64_t blocks, block;        /* V is cut into blocks of this many logits, at most 512 */
    int64_t slice;                /* rows of one task of forward */
    /* Keep exp(logit - block's largest) of all rows from forward, in (blocks, R, block) order.
     * Reading a kept one back takes at most 0.2 ns, computing it anew 2 D / 110 + 0.3 ns, so they
     * are kept wherever the memory is affordable. */
    bool stored;
    /* Written past the caches: saves the read that goes before an ordinary write, and keeps the
     * logits of the next slice where they were. 0.1 to 0.3 ns a logit. */
    bool streamed;
} HeadPlan;

static inline HeadPlan head_plan(const OpCall *call) {
    HeadPlan plan = {.rows = rows_of(call->in[0]),
                     .width = extent(call->in[0], -1),
                     .classes = extent(call->in[1], 0)};
    plan.blocks = (plan.classes + GEMM_COLUMNS - 1) / GEMM_COLUMNS;
    plan.block = ((plan.classes + plan.blocks - 1) / plan.blocks + 31) / 32 * 32;
    /* Each task packs its part of the table, which pays back over many rows; few blocks need
     * smaller slices to occupy the threads. */
    plan.slice = plan.blocks > 2 ? 224 : 112;
    const int64_t bytes = plan.blocks * plan.rows * plan.block * (int64_t)sizeof(float);
    plan.stored = bytes <= HEAD_STORED_BYTES;
    plan.streamed = bytes >= HEAD_STREAMED_BYTES;
    return plan;
}

/* What forward leaves for backward, in the order of call->saved. */
typedef enum HeadSaved {
    HEAD_TOP,     /* (R) largest logit */
    HEAD_INVERSE, /* (R) 1 / sum of exp(logit - top) */
    HEAD_MAXIMA,  /* (blocks, R) largest logit of each block; when stored */
    HEAD_TERMS,   /* (blocks, R, block) exp(logit - maximum); when stored */
} HeadSaved;

/* Floats of forward's scratch: sums and places of the largest logit (blocks, R), the class's logit
 * (R), without stored terms also the maxima; then for each thread a slice of logits, unless they
 * become stored terms in place, and the workspace of its product. */
static inline int64_t head_shared_floats(const HeadPlan *plan, bool stored) {
    const int64_t tables = stored ? 2 : 3;
    return (plan->rows * (tables * plan->blocks + 1) + 15) / 16 * 16;
}
static inline int64_t head_thread_floats(const HeadPlan *plan, bool stored) {
    const size_t workspace = gemm_workspace(GEMM_NT, plan->slice, plan->block, plan->width, 1);
    return (int64_t)(workspace / sizeof(float)) +
           (stored && !plan->streamed ? 0 : plan->slice * plan->block);
}

#endif
