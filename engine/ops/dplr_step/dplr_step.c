#include "engine/ops/dplr_step/dplr_step.h"

static void shape(Tape *tape, OpCall *call) {
    const Tensor *u = call->in[DPLR_STEP_U], *modes = call->in[DPLR_STEP_MODES];
    const Tensor *skip = call->inputs > DPLR_STEP_SKIP ? call->in[DPLR_STEP_SKIP] : NULL;
    const int64_t D = extent(u, -1), rows = extent(modes, 1), M = extent(modes, -1);
    const Shape state = SHAPE(extent(u, 0), D, 2, M), table = SHAPE(D, rows, M), gain = SHAPE(D);
    if (u->shape.rank != 3 || extent(u, 1) != 1 || (rows != 10 && rows != 14) ||
        !shape_equal(&call->in[DPLR_STEP_STATE]->shape, &state) ||
        !shape_equal(&modes->shape, &table) || (skip && !shape_equal(&skip->shape, &gain)))
        tape_fail(tape, call,
                  "expected u (B, 1, D), state (B, D, 2, M), modes (D, 10 or 14, M) and skip (D)");
    tape_output(tape, call, TENSOR_FLOAT, state);
    tape_output(tape, call, TENSOR_FLOAT, u->shape);
    call->shares = 1 + DPLR_STEP_STATE;
}

static void cost(const OpCall *call, Cost *forward, Cost *backward) {
    const double state = (double)tensor_size(call->in[DPLR_STEP_STATE]);
    const double modes = (double)tensor_size(call->in[DPLR_STEP_MODES]);
    const double rank = (double)(extent(call->in[DPLR_STEP_MODES], 1) - 6) / 4;
    *forward = (Cost){.flops = (8 + 4 * rank) * state,
                      .bytes_read = 4 * (state + modes),
                      .bytes_written = 4 * state};
    *backward = (Cost){0};
}

#define NORMAL(...)                                                                                \
    { SHAPE(__VA_ARGS__), FILL_NORMAL, 1, 0 }
#define STEP(B, D, ROWS, M) NORMAL(B, D, 2, M), NORMAL(B, 1, D), NORMAL(D, ROWS, M)

static const OpCase cases[] = {
    {.name = "B1D1M1", .in = {STEP(1, 1, 10, 1)}, .gradient_free = true},
    {.name = "B3D7M5rank2", .in = {STEP(3, 7, 14, 5), NORMAL(7)}, .gradient_free = true},
    {.name = "B2D5M37", .in = {STEP(2, 5, 10, 37), NORMAL(5)}, .gradient_free = true},
    {.name = "B1D128M32",
     .in = {STEP(1, 128, 10, 32), NORMAL(128)},
     .gradient_free = true,
     .benchmark = true},
};

OP_CPU_DECLARE(dplr_step);

const Op op_dplr_step = {
    .name = "dplr_step",
    .summary = "one token of a diagonal plus low-rank state space, in place",
    .inputs = DPLR_STEP_INPUTS,
    .outputs = 2,
    .shape = shape,
    .cost = cost,
    .cpu = OP_CPU(dplr_step),
    .reference = dplr_step_reference,
    OP_CASES(cases),
};

Tensor *dplr_step(Tape *tape, Tensor *state, Tensor *u, Tensor *modes, Tensor *skip,
                  Tensor **next) {
    Tensor *const in[] = {state, u, modes, skip};
    OpCall *call = tape_apply(tape, &op_dplr_step, in, DPLR_STEP_INPUTS, NULL);
    *next = call->out[0];
    return call->out[1];
}
