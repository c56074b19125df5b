/* Extents and scratch of the LSTM kernels. */
#ifndef LONGHAUL_OPS_LSTM_PLAN_H
#define LONGHAUL_OPS_LSTM_PLAN_H

#include "engine/gemm.h"
#include "engine/ops/lstm/lstm.h"

enum {
    LSTM_GATES,
    LSTM_W,
    LSTM_H0,
    LSTM_C0,
    LSTM_H = 0, /* outputs */
    LSTM_H_LAST,
    LSTM_C_LAST,
    LSTM_SAVED_GATES = 0, /* after activation, (B, L, 4H) */
    LSTM_SAVED_C,         /* (B, L, H) */
    /* Backward keeps the gate gradients of so many rows (time steps x sequences), then adds their
     * part of the gradient of w by one product of this depth. */
    LSTM_CHUNK_ROWS = 256
};

typedef struct Plan {
    int64_t B, L, H;
    int64_t steps; /* of one chunk of backward */
    /* Offsets into scratch, in floats. */
    int64_t packed, h, c, chunk_gates, chunk_h, workspace;
    int64_t floats; /* all of it, the product's workspace excluded */
} Plan;

/* floats rounded up to a cache line. */
static inline int64_t lstm_line(int64_t floats) {
    return (floats + 15) / 16 * 16;
}

static inline Plan lstm_plan(const OpCall *call, Phase phase) {
    Plan plan = {.B = extent(call->in[LSTM_GATES], 0),
                 .L = extent(call->in[LSTM_GATES], 1),
                 .H = extent(call->in[LSTM_W], 0)};
    const int64_t rows = LSTM_CHUNK_ROWS / plan.B;
    plan.steps = rows < 1 ? 1 : rows < plan.L ? rows : plan.L;
    plan.h = 4 * plan.H * lstm_line(plan.H); /* after the packed w */
    plan.c = plan.h + lstm_line(plan.B * plan.H);
    plan.chunk_gates = plan.floats = plan.c + lstm_line(plan.B * plan.H);
    if (phase == PHASE_FORWARD) return plan;
    plan.chunk_h = plan.chunk_gates + lstm_line(plan.steps * plan.B * 4 * plan.H);
    plan.workspace = plan.floats = plan.chunk_h + lstm_line(plan.steps * plan.B * plan.H);
    return plan;
}

#endif
