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
    LSTM_SAVED_GATES = 0, /* after activation, (L, B, 4H) */
    LSTM_SAVED_C,         /* (L, B, H) */
    /* Backward keeps the gate gradients of so many rows (time steps x sequences), then adds their
     * part of the gradient of w by one product of this depth. */
    LSTM_CHUNK_ROWS = 256,
    /* Whatever the instruction set, a group of rows holds at least and is padded to at most: */
    LSTM_LEAST_GROUP = 6,
    LSTM_WIDEST_PITCH = 16
};

typedef struct Plan {
    int64_t B, L, H;
    int64_t groups; /* of rows, at most */
    int64_t steps;  /* of one chunk of backward */
    /* Offsets into scratch, in floats. */
    int64_t packed, rows, h, c, step, chunk_gates, chunk_h, workspace;
    int64_t floats; /* all of it, the product's workspace excluded */
} Plan;

/* floats rounded up to a cache line. */
static inline int64_t lstm_line(int64_t floats) {
    return (floats + 15) / 16 * 16;
}

/* Groups of rows: as many as fill the tiles, then equally many for each thread, if there are as
 * many rows: every step ends with the thread that has most. */
static inline int64_t lstm_groups(int64_t B, int64_t rows, int threads) {
    const int64_t full = (B + rows - 1) / rows, even = (full + threads - 1) / threads * threads;
    return even < B ? even : B;
}

static inline Plan lstm_plan(const OpCall *call, Phase phase, int threads) {
    Plan plan = {.B = extent(call->in[LSTM_GATES], 0),
                 .L = extent(call->in[LSTM_GATES], 1),
                 .H = extent(call->in[LSTM_W], 0)};
    const int64_t rows = LSTM_CHUNK_ROWS / plan.B;
    plan.groups = lstm_groups(plan.B, LSTM_LEAST_GROUP, threads);
    plan.steps = rows < 1 ? 1 : rows < plan.L ? rows : plan.L;
    plan.rows = 4 * plan.H * ((plan.H + 31) / 32 * 32); /* w in panels of at most 32 columns more */
    plan.h =
        plan.rows + plan.groups * (phase == PHASE_FORWARD ? 2 : 4) * plan.H * LSTM_WIDEST_PITCH;
    plan.c = plan.h + lstm_line(plan.B * plan.H);
    plan.step = plan.c + lstm_line(plan.B * plan.H);
    plan.floats = plan.step;
    if (phase == PHASE_FORWARD) return plan;
    plan.chunk_gates = plan.step + lstm_line(plan.B * plan.H);
    plan.chunk_h = plan.chunk_gates + lstm_line(plan.steps * plan.B * 4 * plan.H);
    plan.workspace = plan.floats = plan.chunk_h + lstm_line(plan.steps * plan.B * plan.H);
    return plan;
}

#endif
