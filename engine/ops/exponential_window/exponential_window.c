#include "engine/ops/exponential_window/exponential_window.h"

OP_CPU_DECLARE(exponential_window);
void exponential_window_reference(const ReferenceCall *call);

static void shape(Tape *tape, OpCall *call) {
    const ExponentialWindow *attributes = call->attributes;
    const Tensor *x = call->in[0], *rate = call->in[1];
    if (x->shape.rank != 2 || tensor_size(rate) != extent(x, 1) ||
        extent(x, 0) > attributes->max_length) {
        tape_fail(tape, call, "expected x (L, C) with L at most %lld and a rate for each channel",
                  (long long)attributes->max_length);
        return;
    }
    tape_output(tape, call, TENSOR_FLOAT, x->shape);
}

static void cost(const OpCall *call, Cost *forward, Cost *backward) {
    const double n = (double)tensor_size(call->in[0]);
    *forward = (Cost){.flops = 3 * n, .specials = n, .bytes_read = 4 * n, .bytes_written = 4 * n};
    *backward = *forward;
}

Tensor *exponential_window(Tape *tape, Tensor *x, Tensor *rate, ExponentialWindow attributes) {
    Tensor *in[] = {x, rate};
    return tape_apply(tape, &op_exponential_window, in, 2, &attributes)->out[0];
}

#define X(...)                                                                                     \
    { .shape = SHAPE(__VA_ARGS__), .fill = FILL_NORMAL, .a = 1 }
#define RATE(C)                                                                                    \
    { .shape = SHAPE(C), .fill = FILL_UNIFORM, .a = -16, .b = -3 }
#define WINDOW(L, s)                                                                               \
    &(const ExponentialWindow) {                                                                   \
        .max_length = L, .shift = s                                                                \
    }

static const OpCase cases[] = {
    {.name = "L1C1", .in = {X(1, 1), RATE(1)}, .attributes = WINDOW(1, 0)},
    {.name = "L13C7", .in = {X(13, 7), RATE(7)}, .attributes = WINDOW(16, 0.05f)},
    {.name = "L31C67", .in = {X(31, 67), RATE(67)}, .attributes = WINDOW(31, 0)},
    {.name = "L1024C128",
     .in = {X(1024, 128), RATE(128)},
     .attributes = WINDOW(1024, 0),
     .benchmark = true},
};

const Op op_exponential_window = {
    .name = "exponential_window",
    .summary = "y = x (exp(-|rate| t) + shift)",
    .inputs = 2,
    .outputs = 1,
    .attribute_bytes = sizeof(ExponentialWindow),
    .needs_inputs = 2,
    .gradients = 1,
    .shape = shape,
    .cost = cost,
    .cpu = OP_CPU(exponential_window),
    .reference = exponential_window_reference,
    OP_CASES(cases),
};
