/* Sizes that the definition and the kernels of ttt_step share. */
#ifndef LONGHAUL_OPS_TTT_STEP_PLAN_H
#define LONGHAUL_OPS_TTT_STEP_PLAN_H

#include "engine/ops/ttt/ttt_plan.h"

enum { TTT_STEP_STATE = TTT_INPUTS, TTT_STEP_POSITION, TTT_STEP_INPUTS };

/* Rows of channels that the CPU's kernel works with, five a layer, in whole vectors. */
enum { TTT_STEP_ROWS = 5 * TTT_LAYERS };
static inline int64_t ttt_step_row(const TttPlan *plan) {
    const int64_t h = plan->out[0];
    return ((h > plan->f ? h : plan->f) + 15) / 16 * 16;
}
static inline int64_t ttt_step_floats(const TttPlan *plan) {
    return TTT_STEP_ROWS * ttt_step_row(plan);
}

#endif
