#include "engine/ops/mlstm_step/mlstm_step.h"

static void shape(Tape *tape, OpCall *call) {
    const Tensor *C = call->in[MLSTM_STEP_C];
    if (C->shape.rank != 4) {
        tape_fail(tape, call, "C must be (B, H, dk, dv)");
        return;
    }
    const int64_t B = extent(C, 0), H = extent(C, 1), dk = extent(C, 2), dv = extent(C, 3);
    const Shape n = SHAPE(B, H, dk), m = SHAPE(B, H), keys = SHAPE(B, 1, H * dk),
                values = SHAPE(B, 1, H * dv), gates = SHAPE(B, 1, 2 * H);
    if (!shape_equal(&call->in[MLSTM_STEP_N]->shape, &n) ||
        !shape_equal(&call->in[MLSTM_STEP_M]->shape, &m) ||
        !shape_equal(&call->in[MLSTM_STEP_Q]->shape, &keys) ||
        !shape_equal(&call->in[MLSTM_STEP_K]->shape, &keys) ||
        !shape_equal(&call->in[MLSTM_STEP_V]->shape, &values) ||
        !shape_equal(&call->in[MLSTM_STEP_GATES]->shape, &gates))
        tape_fail(tape, call,
                  "expected C (B, H, dk, dv), n (B, H, dk), m (B, H), q and k (B, 1, H dk), v (B, "
                  "1, H dv) and gates (B, 1, 2 H)");
    tape_output(tape, call, TENSOR_FLOAT, C->shape);
    tape_output(tape, call, TENSOR_FLOAT, values);
    tape_output(tape, call, TENSOR_FLOAT, n);
    tape_output(tape, call, TENSOR_FLOAT, m);
    call->shares = 1 + MLSTM_STEP_C;
}

static void cost(const OpCall *call, Cost *forward, Cost *backward) {
    const double state = (double)tensor_size(call->in[MLSTM_STEP_C]);
    const double keys = (double)tensor_size(call->in[MLSTM_STEP_N]);
    *forward = (Cost){.flops = 5 * state + 5 * keys,
                      .specials = 6 * (double)tensor_size(call->in[MLSTM_STEP_M]),
                      .bytes_read = 4 * (state + 3 * keys),
                      .bytes_written = 4 * (state + keys)};
    *backward = (Cost){0};
}

#define NORMAL(...)                                                                                \
    { .shape = SHAPE(__VA_ARGS__), .fill = FILL_NORMAL, .a = 1 }
#define STEP(B, H, dk, dv)                                                                         \
    NORMAL(B, H, dk, dv), NORMAL(B, H, dk), NORMAL(B, H), NORMAL(B, 1, (H) * (dk)),                \
        NORMAL(B, 1, (H) * (dk)), NORMAL(B, 1, (H) * (dv)), NORMAL(B, 1, 2 * (H))

static const OpCase cases[] = {
    {"B1H1K1V1", .in = {STEP(1, 1, 1, 1)}, .gradient_free = true},
    {"B2H3K5V7", .in = {STEP(2, 3, 5, 7)}, .gradient_free = true},
    {"B3H2K33V70", .in = {STEP(3, 2, 33, 70)}, .gradient_free = true},
    {"B1H1K130V64", .in = {STEP(1, 1, 130, 64)}, .gradient_free = true},
    {"B1H4K32V32", .in = {STEP(1, 4, 32, 32)}, .gradient_free = true, .benchmark = true},
    {"B1H4K384V384", .in = {STEP(1, 4, 384, 384)}, .gradient_free = true, .gpu = true},
};

OP_CPU_DECLARE(mlstm_step);

const Op op_mlstm_step = {
    .name = "mlstm_step",
    .summary = "C = f C + i k v^T; n = f n + i k; h = q C / max(|q n|, 1) for one token, in place",
    .inputs = MLSTM_STEP_INPUTS,
    .outputs = 4,
    .shape = shape,
    .cost = cost,
    .cpu = OP_CPU(mlstm_step),
    .reference = mlstm_step_reference,
    OP_CASES(cases),
};

Tensor *mlstm_step(Tape *tape, const MlstmState *state, Tensor *q, Tensor *k, Tensor *v,
                   Tensor *gates, MlstmState *next) {
    Tensor *const in[MLSTM_STEP_INPUTS] = {state->C, state->n, state->m, q, k, v, gates};
    const OpCall *call = tape_apply(tape, &op_mlstm_step, in, MLSTM_STEP_INPUTS, NULL);
    *next = (MlstmState){call->out[MLSTM_STEP_C_NEXT], call->out[MLSTM_STEP_N_NEXT],
                         call->out[MLSTM_STEP_M_NEXT]};
    return call->out[MLSTM_STEP_H];
}
