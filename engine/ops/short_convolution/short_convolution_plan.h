/* How the kernels cut their work, and so how much scratch they need. Nothing but the number of
 * per-thread buffers depends on the number of threads. */
#ifndef LONGHAUL_OPS_SHORT_CONVOLUTION_PLAN_H
#define LONGHAUL_OPS_SHORT_CONVOLUTION_PLAN_H

#include "engine/ops/short_convolution/short_convolution.h"

enum {
    TILE_ROWS = 4,      /* outputs computed together */
    UNIT_ROWS = 64,     /* rows of one unit of work; a multiple of TILE_ROWS */
    PARTIAL_GROUPS = 32 /* partial sums of the taps' gradients, added in this order at the end */
};

typedef struct Plan {
    int64_t B, L, E, K;
    int64_t past, future;  /* rows that an output sees before and after its own */
    int64_t chunks, units; /* units = B * chunks */
    int64_t groups;        /* consecutive units share one partial sum */
    int64_t window;        /* floats per thread: the rows that one tile sees */
    int64_t local;         /* floats per thread: a unit's gradients before the activation, with
                            * the K-1 rows around it */
    int64_t partial;       /* floats per group: gradients of K taps and the bias */
} Plan;

static inline Plan short_convolution_plan(const OpCall *call) {
    const Tensor *x = call->in[0];
    Plan plan = {
        .B = extent(x, 0), .L = extent(x, 1), .E = extent(x, 2), .K = extent(call->in[1], 0)};
    const ShortConvolution *attributes = (const ShortConvolution *)call->attributes;
    plan.past = short_convolution_past(attributes, plan.K);
    plan.future = plan.K - 1 - plan.past;
    plan.chunks = (plan.L + UNIT_ROWS - 1) / UNIT_ROWS;
    plan.units = plan.B * plan.chunks;
    plan.groups = plan.units < PARTIAL_GROUPS ? plan.units : (int64_t)PARTIAL_GROUPS;
    plan.window = (TILE_ROWS + plan.K - 1) * plan.E;
    plan.local = (UNIT_ROWS + plan.K - 1) * plan.E;
    plan.partial = (plan.K + 1) * plan.E;
    return plan;
}

#endif
