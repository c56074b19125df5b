#include "engine/ops/sine/sine.h"

OP_CPU_DECLARE(sine);
void sine_reference(const ReferenceCall *call);

static void shape(Tape *tape, OpCall *call) {
    const Tensor *x = call->in[0], *frequency = call->in[1];
    if (tensor_size(frequency) != extent(x, -1)) {
        tape_fail(tape, call,
                  "frequency must have %lld elements, the last extent of x, but has %lld",
                  (long long)extent(x, -1), (long long)tensor_size(frequency));
        return;
    }
    tape_output(tape, call, TENSOR_FLOAT, x->shape);
}

static void cost(const OpCall *call, Cost *forward, Cost *backward) {
    const double n = (double)tensor_size(call->in[0]);
    *forward = (Cost){.flops = n, .specials = n, .bytes_read = 4 * n, .bytes_written = 4 * n};
    *backward = (Cost){.flops = 5 * n, .specials = n, .bytes_read = 8 * n, .bytes_written = 4 * n};
}

Tensor *sine(Tape *tape, Tensor *x, Tensor *frequency) {
    Tensor *in[] = {x, frequency};
    return tape_apply(tape, &op_sine, in, 2, NULL)->out[0];
}

#define X(...)                                                                                     \
    { .shape = SHAPE(__VA_ARGS__), .fill = FILL_NORMAL, .a = 1 }
#define FREQUENCY(C)                                                                               \
    { .shape = SHAPE(C), .fill = FILL_UNIFORM, .a = 0.5, .b = 3 }

static const OpCase cases[] = {
    {.name = "L1C1", .in = {X(1, 1), FREQUENCY(1)}},
    {.name = "L13C7", .in = {X(13, 7), FREQUENCY(7)}},
    {.name = "L31C67", .in = {X(31, 67), FREQUENCY(67)}},
    /* Frequency 14 of the language models: angles of tens of radians, whose rounding in float32
     * (6e-8 of the angle) is what the error consists of. */
    {.name = "fast_L40C64",
     .in = {X(40, 64), {.shape = SHAPE(64), .fill = FILL_UNIFORM, .a = 10, .b = 14}},
     .tolerance = 3e-5},
    {.name = "L1024C64", .in = {X(1024, 64), FREQUENCY(64)}, .benchmark = true},
};

const Op op_sine = {
    .name = "sine",
    .summary = "y = sin(frequency x)",
    .inputs = 2,
    .outputs = 1,
    .needs_inputs = 3,
    .gradients = 3,
    .shape = shape,
    .cost = cost,
    .cpu = OP_CPU(sine),
    .reference = sine_reference,
    OP_CASES(cases),
};
