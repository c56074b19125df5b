#include "engine/ops/slstm/slstm.h"

#include "engine/ops/slstm/slstm_plan.h"

static void shape(Tape *tape, OpCall *call) {
    const Tensor *r = call->in[SLSTM_R], *in = call->in[SLSTM_IF];
    const Tensor *bias = call->in[SLSTM_BIAS], *state = call->in[SLSTM_STATE];
    if (r->shape.rank != 4 || extent(r, 2) != 4 || extent(r, 3) != extent(r, 1) ||
        in->shape.rank != 3 || extent(in, 2) != 2 * extent(r, 0) * extent(r, 1) ||
        !shape_equal(&in->shape, &call->in[SLSTM_ZO]->shape)) {
        tape_fail(tape, call,
                  "the recurrent weights must be (H, U, 4, U) and both inputs (B, L, H 2 U)");
        return;
    }
    const int64_t B = extent(in, 0), L = extent(in, 1), H = extent(r, 0), U = extent(r, 1);
    const Shape wanted = SHAPE(B, 4, H * U), biases = SHAPE(H, 4, U);
    if (!shape_equal(&bias->shape, &biases) || (state && !shape_equal(&state->shape, &wanted)))
        tape_fail(tape, call, "the bias must be (H, 4, U), the state (B, 4, H U)");
    tape_output(tape, call, TENSOR_FLOAT, SHAPE(B, L, H * U));
    if (state) tape_output(tape, call, TENSOR_FLOAT, wanted);
    if (tape_mode(tape) == TAPE_TRAIN)
        tape_saved(tape, call, TENSOR_FLOAT, SHAPE(B, H, L, SLSTM_NOTES, U));
}

static void cost(const OpCall *call, Cost *forward, Cost *backward) {
    const double U = (double)extent(call->in[SLSTM_R], 1);
    const double units = (double)tensor_size(call->out[SLSTM_H]); /* B L H U */
    *forward = (Cost){.flops = units * (8 * U + 16),
                      .specials = units * 11, /* five exponentials, a logarithm, divisions */
                      .bytes_read = 4 * units * 4,
                      .bytes_written = 4 * units * (1 + SLSTM_NOTES)};
    *backward = (Cost){.flops = units * (16 * U + 28),
                       .specials = units,
                       .bytes_read = 4 * units * (2 + SLSTM_NOTES),
                       .bytes_written = 4 * units * 4};
}

static size_t scratch(const OpCall *call, int threads, Phase phase) {
    const SlstmPlan plan = slstm_plan(call, phase);
    size_t bytes = (size_t)plan.workspace * sizeof(float);
    if (phase == PHASE_BACKWARD)
        bytes += gemm_workspace(GEMM_TN, plan.U, 4 * plan.U, plan.L, threads);
    return bytes;
}

#define NORMAL(...)                                                                                \
    { .shape = SHAPE(__VA_ARGS__), .fill = FILL_NORMAL, .a = 1 }
#define WEIGHTS(H, U, size)                                                                        \
    { .shape = SHAPE(H, U, 4, U), .fill = FILL_NORMAL, .a = (size) }
#define INPUTS(B, L, H, U, size)                                                                   \
    NORMAL(B, L, 2 * (H) * (U)), NORMAL(B, L, 2 * (H) * (U)), WEIGHTS(H, U, size), NORMAL(H, 4, U)
/* Any state that tokens may have left: n is positive. */
#define STATE(B, H, U)                                                                             \
    { .shape = SHAPE(B, 4, (H) * (U)), .fill = FILL_UNIFORM, .a = 0.5, .b = 2 }

static const OpCase cases[] = {
    /* With a state: without one the first token's h does not depend on its input gate. */
    {"B1L1H1U1", .in = {INPUTS(1, 1, 1, 1, 0.5), STATE(1, 1, 1)}},
    {"B2L5H2U3", .in = {INPUTS(2, 5, 2, 3, 0.3)}},
    {"B7L13H1U17", .in = {INPUTS(7, 13, 1, 17, 0.2)}},
    {"B13L9H3U32", .in = {INPUTS(13, 9, 3, 32, 0.1)}},
    {"B1L150H2U5", .in = {INPUTS(1, 150, 2, 5, 0.2)}},
    {"B70L3H5U2", .in = {INPUTS(70, 3, 5, 2, 0.3)}},
    {"B3L4H2U83", .in = {INPUTS(3, 4, 2, 83, 0.1)}},
    {"B2L2H1U130", .in = {INPUTS(2, 2, 1, 130, 0.05)}},
    {"carried-L1", .in = {INPUTS(3, 1, 2, 5, 0.3), STATE(3, 2, 5)}},
    {"carried-L9", .in = {INPUTS(2, 9, 2, 21, 0.2), STATE(2, 2, 21)}},
    /* Input gates whose exponentials overflow without the stabiliser. */
    {"overflow",
     .in = {{.shape = SHAPE(2, 12, 16), .fill = FILL_NORMAL, .a = 60},
            NORMAL(2, 12, 16),
            WEIGHTS(2, 4, 0.2),
            NORMAL(2, 4, 4)},
     .tolerance = 1e-4}, /* logarithms add up to some 300, known to 2e-5 */
    {"B32L64H4U16", .in = {INPUTS(32, 64, 4, 16, 0.1)}, .benchmark = true},
    {"B32L64H1U64", .in = {INPUTS(32, 64, 1, 64, 0.05)}, .benchmark = true},
    {"B8L16H4U128", .in = {INPUTS(8, 16, 4, 128, 0.05)}, .benchmark = true},
    {"B8L2048H4U192", .in = {INPUTS(8, 2048, 4, 192, 0.05)}, .gpu = true},
};

OP_CPU_DECLARE(slstm);

const Op op_slstm = {
    .name = "slstm",
    .summary = "G = input + bias + h R; c = f c + exp(Gi) tanh(Gz); n = f n + exp(Gi); h = o c / n",
    .inputs = SLSTM_INPUTS,
    .outputs = 2,
    .needs_inputs = 1u << SLSTM_R | 1u << SLSTM_STATE,
    .needs_outputs = 1u << SLSTM_H,
    .gradients = 1u << SLSTM_IF | 1u << SLSTM_ZO | 1u << SLSTM_R | 1u << SLSTM_BIAS,
    .shape = shape,
    .cost = cost,
    .scratch = scratch,
    .cpu = OP_CPU(slstm),
    .reference = slstm_reference,
    OP_CASES(cases),
};

Tensor *slstm(Tape *tape, const SlstmInputs *inputs, Tensor **next) {
    Tensor *in[SLSTM_INPUTS] = {inputs->gates_if, inputs->gates_zo, inputs->recurrent, inputs->bias,
                                inputs->state};
    const OpCall *call = tape_apply(tape, &op_slstm, in, SLSTM_INPUTS, NULL);
    if (next) *next = inputs->state ? call->out[SLSTM_NEXT] : NULL;
    return call->out[SLSTM_H];
}
