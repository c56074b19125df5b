/* Extents and scratch of the HiPPO cell on CPUs. */
#ifndef LONGHAUL_HIPPO_CELL_PLAN_H
#define LONGHAUL_HIPPO_CELL_PLAN_H

#include "engine/gemm.h"
#include "engine/ops/hippo_cell/hippo_cell.h"

enum {
    HIPPO_SAVED_M = 0, /* (L, B, N) */
    HIPPO_SAVED_GATES, /* (L, B, 2H): tanh a, g */
    HIPPO_CHUNK_ROWS =
        256, /* steps x sequences whose gate gradients one product of w_m's gradient takes */
    HIPPO_WIDEST_PANEL = 32, /* columns of a packed panel, at most */
    HIPPO_LEAST_ROWS = 6     /* of a group that fills the tiles of every instruction set */
};

typedef struct HippoPlan {
    int64_t B, L, H, N, steps;
    bool dense; /* with a matrix A */
    /* offsets into scratch, floats */
    int64_t packed_m, packed_A, gates, m, carry_h, carry_m, du, workspace, floats;
} HippoPlan;

static inline int64_t hippo_line(int64_t floats) {
    return (floats + 15) / 16 * 16;
}
static inline int64_t hippo_panels(int64_t rows, int64_t columns) {
    return rows * ((columns + HIPPO_WIDEST_PANEL - 1) / HIPPO_WIDEST_PANEL * HIPPO_WIDEST_PANEL);
}

static inline HippoPlan hippo_plan(const OpCall *call, Phase phase) {
    HippoPlan p = {.B = extent(call->in[HIPPO_GATES], 0),
                   .L = extent(call->in[HIPPO_GATES], 1),
                   .H = extent(call->in[HIPPO_W_U], 0),
                   .N = extent(call->in[HIPPO_W_M], 0),
                   .dense = call->in[HIPPO_A] != NULL};
    const int64_t rows = HIPPO_CHUNK_ROWS / p.B;
    p.steps = phase == PHASE_FORWARD || rows < 1 ? 1 : rows < p.L ? rows : p.L;
    const int64_t larger = 2 * p.H > p.N ? 2 * p.H : p.N, smaller = 2 * p.H > p.N ? p.N : 2 * p.H;
    p.packed_A = hippo_panels(smaller, larger) + hippo_panels(larger, smaller);
    p.gates = p.packed_A + (p.dense ? hippo_panels(p.N, p.N) : 0);
    p.m = p.gates + hippo_line(p.steps * p.B * 2 * p.H);
    p.carry_h = p.m + hippo_line(3 * p.B *
                                 p.N); /* states before and after a step, or gradients; products */
    p.carry_m = p.carry_h + hippo_line(p.B * p.H);
    p.du = p.carry_m + hippo_line(p.B * p.N);
    p.workspace = p.floats = p.du + hippo_line(p.B * p.L);
    return p;
}

#endif
