#include "engine/ops/diagonal_step/diagonal_step.h"

static void shape(Tape *tape, OpCall *call) {
    const Tensor *u = call->in[DIAGONAL_STEP_U], *modes = call->in[DIAGONAL_STEP_MODES];
    const Tensor *skip = call->inputs > DIAGONAL_STEP_SKIP ? call->in[DIAGONAL_STEP_SKIP] : NULL;
    const int64_t D = extent(u, -1), M = extent(modes, -1);
    const Shape state = SHAPE(extent(u, 0), D, 2, M), table = SHAPE(D, 4, M), gain = SHAPE(D);
    if (u->shape.rank != 3 || extent(u, 1) != 1 ||
        !shape_equal(&call->in[DIAGONAL_STEP_STATE]->shape, &state) ||
        !shape_equal(&modes->shape, &table) || (skip && !shape_equal(&skip->shape, &gain)))
        tape_fail(tape, call,
                  "expected u (B, 1, D), state (B, D, 2, M), modes (D, 4, M) and skip (D)");
    tape_output(tape, call, TENSOR_FLOAT, state);
    tape_output(tape, call, TENSOR_FLOAT, u->shape);
    call->shares = 1 + DIAGONAL_STEP_STATE;
}

static void cost(const OpCall *call, Cost *forward, Cost *backward) {
    const double state = (double)tensor_size(call->in[DIAGONAL_STEP_STATE]);
    const double modes = (double)tensor_size(call->in[DIAGONAL_STEP_MODES]);
    *forward =
        (Cost){.flops = 6 * state, .bytes_read = 4 * (state + modes), .bytes_written = 4 * state};
    *backward = (Cost){0};
}

#define NORMAL(...)                                                                                \
    { SHAPE(__VA_ARGS__), FILL_NORMAL, 1, 0 }
#define STEP(B, D, M) NORMAL(B, D, 2, M), NORMAL(B, 1, D), NORMAL(D, 4, M)

static const OpCase cases[] = {
    {.name = "B1D1M1", .in = {STEP(1, 1, 1)}, .gradient_free = true},
    {.name = "B3D7M5", .in = {STEP(3, 7, 5), NORMAL(7)}, .gradient_free = true},
    {.name = "B2D5M37", .in = {STEP(2, 5, 37), NORMAL(5)}, .gradient_free = true},
    {.name = "B1D128M32",
     .in = {STEP(1, 128, 32), NORMAL(128)},
     .gradient_free = true,
     .benchmark = true},
};

OP_CPU_DECLARE(diagonal_step);

const Op op_diagonal_step = {
    .name = "diagonal_step",
    .summary = "s' = lambdabar s + u, y = 2 Re sum_n c_n s'_n + skip u, in place",
    .inputs = DIAGONAL_STEP_INPUTS,
    .outputs = 2,
    .shape = shape,
    .cost = cost,
    .cpu = OP_CPU(diagonal_step),
    .reference = diagonal_step_reference,
    OP_CASES(cases),
};

Tensor *diagonal_step(Tape *tape, Tensor *state, Tensor *u, Tensor *modes, Tensor *skip,
                      Tensor **next) {
    Tensor *const in[] = {state, u, modes, skip};
    OpCall *call = tape_apply(tape, &op_diagonal_step, in, DIAGONAL_STEP_INPUTS, NULL);
    *next = call->out[0];
    return call->out[1];
}
