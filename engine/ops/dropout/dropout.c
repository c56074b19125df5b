#include "engine/ops/dropout/dropout.h"

static void shape(Tape *tape, OpCall *call) {
    const Dropout *attributes = call->attributes;
    if (!(attributes->rate >= 0 && attributes->rate < 1)) {
        tape_fail(tape, call, "rate must be at least 0 and below 1, but is %g", attributes->rate);
        return;
    }
    if (attributes->tied && call->in[0]->shape.rank < 2) {
        tape_fail(tape, call, "a tied mask needs x (.., L, D), but %s has one extent",
                  call->in[0]->name);
        return;
    }
    tape_output(tape, call, TENSOR_FLOAT, call->in[0]->shape);
}

/* Drawing random words is integer work and counts as none. */
static void cost(const OpCall *call, Cost *forward, Cost *backward) {
    const double n = (double)tensor_size(call->in[0]);
    *forward = *backward = (Cost){.flops = n, .bytes_read = 4 * n, .bytes_written = 4 * n};
}

/* Tied: what the elements of a sequence's positions are multiplied with. */
static size_t scratch(const OpCall *call, int threads, Phase phase) {
    (void)threads, (void)phase;
    const Tensor *x = call->in[0];
    if (!((const Dropout *)call->attributes)->tied) return 0;
    return (size_t)(tensor_size(x) / extent(x, -2)) * sizeof(float);
}

#define ELEMENTS(...)                                                                              \
    { .shape = SHAPE(__VA_ARGS__), .fill = FILL_NORMAL, .a = 1 }
#define RATE(p)                                                                                    \
    .attributes = &(const Dropout) {                                                               \
        .rate = p                                                                                  \
    }
#define TIED(p)                                                                                    \
    .attributes = &(const Dropout) {                                                               \
        .rate = p, .tied = true                                                                    \
    }

static const OpCase cases[] = {
    {.name = "1rate0.1", .in = {ELEMENTS(1)}, RATE(0.1)},
    {.name = "3x7rate0.5", .in = {ELEMENTS(3, 7)}, RATE(0.5)},
    {.name = "2x5x101rate0.25", .in = {ELEMENTS(2, 5, 101)}, RATE(0.25)},
    {.name = "40009rate0.9", .in = {ELEMENTS(40009)}, RATE(0.9)},
    {.name = "tied1x1rate0.5", .in = {ELEMENTS(1, 1)}, TIED(0.5)},
    {.name = "tied3x7x5rate0.5", .in = {ELEMENTS(3, 7, 5)}, TIED(0.5)},
    {.name = "tied2x3x11x101rate0.25", .in = {ELEMENTS(2, 3, 11, 101)}, TIED(0.25)},
    {.name = "tied2x331x68rate0.1", .in = {ELEMENTS(2, 331, 68)}, TIED(0.1)},
    {.name = "4x512x64rate0.1", .in = {ELEMENTS(4, 512, 64)}, RATE(0.1), .benchmark = true},
    {.name = "tied4x512x64rate0.1", .in = {ELEMENTS(4, 512, 64)}, TIED(0.1), .benchmark = true},
    {.name = "8x2048x2048rate0.1", .in = {ELEMENTS(8, 2048, 2048)}, RATE(0.1), .gpu = true},
    {.name = "tied8x2048x2048rate0.1", .in = {ELEMENTS(8, 2048, 2048)}, TIED(0.1), .gpu = true},
};

void dropout_reference(const ReferenceCall *call);
OP_CPU_DECLARE(dropout);

const Op op_dropout = {
    .name = "dropout",
    .summary = "y = x / (1 - rate) with probability 1 - rate, otherwise 0, while training",
    .inputs = 1,
    .outputs = 1,
    .attribute_bytes = sizeof(Dropout),
    .gradients = 1,
    .draws = true,
    .shape = shape,
    .cost = cost,
    .scratch = scratch,
    .cpu = OP_CPU(dropout),
    .reference = dropout_reference,
    OP_CASES(cases),
};

static Tensor *record(Tape *tape, Tensor *x, Dropout attributes) {
    if (attributes.rate == 0) return x;
    return tape_apply(tape, &op_dropout, &x, 1, &attributes)->out[0];
}

Tensor *dropout(Tape *tape, Tensor *x, double rate) {
    return record(tape, x, (Dropout){.rate = rate});
}

Tensor *dropout_tied(Tape *tape, Tensor *x, double rate) {
    return record(tape, x, (Dropout){.rate = rate, .tied = true});
}
