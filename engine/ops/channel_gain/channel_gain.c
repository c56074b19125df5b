#include "engine/ops/channel_gain/channel_gain.h"

static void shape(Tape *tape, OpCall *call) {
    const Tensor *a = call->in[GAIN_A], *u = call->in[GAIN_U], *b = call->in[GAIN_B],
                 *v = call->in[GAIN_V];
    const int64_t D = extent(a, -1);
    if ((b && !v) || (b && !shape_equal(&a->shape, &b->shape)) || tensor_size(u) != D ||
        (v && tensor_size(v) != D)) {
        tape_fail(
            tape, call,
            "expected a (.., D) and u (D), and b like a and v like u where they are given, b only "
            "with v");
        return;
    }
    tape_output(tape, call, TENSOR_FLOAT, a->shape);
}

static void cost(const OpCall *call, Cost *forward, Cost *backward) {
    const double n = (double)tensor_size(call->in[GAIN_A]), terms = call->in[GAIN_B] ? 2 : 1;
    const double offset = call->in[GAIN_V] && !call->in[GAIN_B] ? n : 0;
    *forward = (Cost){
        .flops = n * (2 * terms - 1) + offset, .bytes_read = 4 * n * terms, .bytes_written = 4 * n};
    *backward = (Cost){.flops = 3 * n * terms + offset,
                       .bytes_read = 4 * n * (terms + 1),
                       .bytes_written = 4 * n * terms};
}

static size_t scratch(const OpCall *call, int threads, Phase phase) {
    (void)threads;
    if (phase == PHASE_FORWARD) return 0;
    const Tensor *a = call->in[GAIN_A];
    return (size_t)(2 * channel_gain_chunks(rows_of(a)) * extent(a, -1)) * sizeof(float);
}

#define NORMAL(...)                                                                                \
    { .shape = SHAPE(__VA_ARGS__), .fill = FILL_NORMAL, .a = 1 }
#define ONE(R, D) .in = {NORMAL(R, D), NORMAL(D)}
#define OFFSET(R, D) .in = {NORMAL(R, D), NORMAL(D), {.fill = FILL_NONE}, NORMAL(D)}
#define TWO(R, D) .in = {NORMAL(R, D), NORMAL(D), NORMAL(R, D), NORMAL(D)}

static const OpCase cases[] = {
    {"R1D1", ONE(1, 1)},
    {"R3D7", TWO(3, 7)},
    {"R2x65D33", .in = {NORMAL(2, 65, 33), NORMAL(33), NORMAL(2, 65, 33), NORMAL(33)}},
    {"R67D48", ONE(67, 48)},
    {"R1D3offset", OFFSET(1, 3)},
    {"R139D33offset", OFFSET(139, 33)},
    {"R131D130", TWO(131, 130)},
    {"R1024D128", TWO(1024, 128), .benchmark = true},
    {"R16384D1536", TWO(16384, 1536), .gpu = true},
};

OP_CPU_DECLARE(channel_gain);

const Op op_channel_gain = {
    .name = "channel_gain",
    .summary = "y = a u + b v or a u + v, u and v a number for each channel",
    .inputs = GAIN_INPUTS,
    .outputs = 1,
    .needs_inputs = (1u << GAIN_INPUTS) - 1u,
    .gradients = (1u << GAIN_INPUTS) - 1u,
    .shape = shape,
    .cost = cost,
    .scratch = scratch,
    .cpu = OP_CPU(channel_gain),
    .reference = channel_gain_reference,
    OP_CASES(cases),
};

Tensor *channel_gain(Tape *tape, Tensor *a, Tensor *u, Tensor *b, Tensor *v) {
    Tensor *in[GAIN_INPUTS] = {a, u, b, v};
    return tape_apply(tape, &op_channel_gain, in, GAIN_INPUTS, NULL)->out[0];
}
