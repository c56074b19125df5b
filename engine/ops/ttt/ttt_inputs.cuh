/* What kernels of ttt and ttt_step read: the inputs that both have, in the same places. */
#ifndef LONGHAUL_OPS_TTT_INPUTS_CUH
#define LONGHAUL_OPS_TTT_INPUTS_CUH

#include "engine/cuda/grid.cuh"
#include "engine/ops/ttt/ttt_plan.h"

struct TttInner {
    TttPlan plan;
    const float *q, *k, *v, *rate, *index, *gamma, *beta, *W[TTT_LAYERS], *c[TTT_LAYERS];
};

static inline TttInner ttt_inner(const OpCall *call) {
    return {.plan = ttt_plan(call->in, static_cast<const Ttt *>(call->attributes)),
            .q = data_of(call, TTT_Q),
            .k = data_of(call, TTT_K),
            .v = data_of(call, TTT_V),
            .rate = data_of(call, TTT_RATE),
            .index = data_of(call, TTT_INDEX),
            .gamma = data_of(call, TTT_GAMMA),
            .beta = data_of(call, TTT_BETA),
            .W = {data_of(call, TTT_W1), data_of(call, TTT_W2)},
            .c = {data_of(call, TTT_C1), data_of(call, TTT_C2)}};
}

#endif
