/* Extents, notes and scratch of the sLSTM kernels. */
#ifndef LONGHAUL_OPS_SLSTM_PLAN_H
#define LONGHAUL_OPS_SLSTM_PLAN_H

#include "engine/gemm.h"
#include "engine/ops/slstm/slstm.h"

enum {
    SLSTM_IF,
    SLSTM_ZO,
    SLSTM_R,
    SLSTM_BIAS,
    SLSTM_STATE,
    SLSTM_INPUTS,
    SLSTM_H = 0, /* outputs */
    SLSTM_NEXT,
    /* Notes (B, H, L, SLSTM_NOTES, U), all of a unit and token: */
    SLSTM_NOTE_I = 0, /* I */
    SLSTM_NOTE_F,     /* F */
    SLSTM_NOTE_SLOPE, /* of log sigmoid(f) */
    SLSTM_NOTE_Z,     /* tanh(z) */
    SLSTM_NOTE_O,     /* sigmoid(o) */
    SLSTM_NOTE_C,
    SLSTM_NOTE_N,
    SLSTM_NOTES,
    SLSTM_GROUP = 6 /* sequences of a unit of work, at most */
};

typedef struct SlstmPlan {
    int64_t B, L, H, U;
    /* Offsets into the scratch of the CPU's kernels, in floats. */
    int64_t packed; /* R of a head, rearranged */
    int64_t rows;   /* of a group: state before and after the step, or gradients */
    int64_t gates;  /* all gate gradients, (B, H, L, 4, U) */
    int64_t workspace;
} SlstmPlan;

static inline int64_t slstm_line(int64_t floats) {
    return (floats + 15) / 16 * 16;
}
/* Floats of R of a head in panels, and of a group's rows. */
static inline int64_t slstm_packed(int64_t U) {
    return 4 * U * ((U + 31) / 32 * 32);
}
static inline int64_t slstm_group_floats(int64_t U) {
    return slstm_line(SLSTM_GROUP * 8 * U);
}

static inline SlstmPlan slstm_plan(const OpCall *call, Phase phase) {
    const Tensor *r = call->in[SLSTM_R], *gates = call->in[SLSTM_IF];
    SlstmPlan plan = {0};
    plan.B = extent(gates, 0);
    plan.L = extent(gates, 1);
    plan.H = extent(r, 0);
    plan.U = extent(r, 1);
    plan.rows = plan.H * slstm_packed(plan.U);
    plan.gates = plan.rows + plan.B * plan.H * slstm_group_floats(plan.U);
    plan.workspace = plan.gates;
    if (phase == PHASE_BACKWARD)
        plan.workspace += slstm_line(plan.B * plan.L * plan.H * 4 * plan.U);
    return plan;
}

void slstm_reference(const ReferenceCall *call);

#endif
