/* How the kernels cut their work, and the layout of scratch and notes. Channels lie padded to
 * SCAN_PAD; a block is LANES channels, and per-state numbers of a block lie as [n][lane]. */
#ifndef LONGHAUL_OPS_SELECTIVE_SCAN_PLAN_H
#define LONGHAUL_OPS_SELECTIVE_SCAN_PLAN_H

#include "engine/ops/selective_scan/selective_scan.h"

enum {
    SCAN_U,
    SCAN_RAW,
    SCAN_A_LOG,
    SCAN_B,
    SCAN_C,
    SCAN_D,
    SCAN_BIAS,
    SCAN_Z,
    SCAN_STATE,
    SCAN_INPUTS,
    SCAN_SAVED_STATES = 0, /* (B, chunks, padded E, N): the state before each chunk */
    SCAN_SAVED_Y,          /* (B, L, E): y before the gate; only with a gate */
    SCAN_ROWS = 16,        /* tokens of a chunk: what backward computes again at a time */
    SCAN_CHANNELS = 64,    /* of one unit of work: four vectors of the widest set */
    SCAN_PAD = 16,
    /* Backward sums the gradients of B and C over channels in two steps: units leave partial sums
     * for a stretch of chunks, about so many tokens of the batch, then these are added in order. */
    SCAN_STRETCH_TOKENS = 1024
};

typedef struct Plan {
    int64_t B, L, E, N;
    int64_t padded; /* E rounded up */
    int64_t chunks, groups, units;
    int64_t stretch; /* chunks of one stretch */
    int64_t state;   /* floats of a padded state, padded E x N */
    int64_t partial; /* floats of a unit's partial sums for one chunk: [n][B or C][SCAN_ROWS] */
    int64_t channel; /* floats of a sequence's sums per channel: A (padded E x N), D, bias */
} Plan;

static inline Plan selective_scan_plan(const OpCall *call) {
    Plan plan = {.B = extent(call->in[SCAN_U], 0),
                 .L = extent(call->in[SCAN_U], 1),
                 .E = extent(call->in[SCAN_U], 2),
                 .N = extent(call->in[SCAN_A_LOG], 1)};
    plan.padded = (plan.E + SCAN_PAD - 1) / SCAN_PAD * SCAN_PAD;
    plan.chunks = (plan.L + SCAN_ROWS - 1) / SCAN_ROWS;
    plan.groups = (plan.E + SCAN_CHANNELS - 1) / SCAN_CHANNELS;
    plan.units = plan.B * plan.groups;
    plan.stretch = SCAN_STRETCH_TOKENS / (SCAN_ROWS * plan.B);
    if (plan.stretch < 1) plan.stretch = 1;
    if (plan.stretch > plan.chunks) plan.stretch = plan.chunks;
    plan.state = plan.padded * plan.N;
    plan.partial = plan.N * 2 * SCAN_ROWS;
    plan.channel = plan.padded * (plan.N + 2);
    return plan;
}

#endif
