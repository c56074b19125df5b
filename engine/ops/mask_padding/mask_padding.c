#include "engine/ops/mask_padding/mask_padding.h"

OP_CPU_DECLARE(mask_padding);
void mask_padding_reference(const ReferenceCall *call);

static void shape(Tape *tape, OpCall *call) {
    const Tensor *x = call->in[0], *lengths = call->in[1];
    if (x->shape.rank != 3) {
        tape_fail(tape, call, "needs x (B, L, D), but %s has %d extents", x->name, x->shape.rank);
        return;
    }
    if (lengths->type != TENSOR_INTEGER || tensor_size(lengths) != extent(x, 0)) {
        tape_fail(tape, call, "needs one integer length per sequence, %lld, but %s has %lld",
                  (long long)extent(x, 0), lengths->name, (long long)tensor_size(lengths));
        return;
    }
    tape_output(tape, call, TENSOR_FLOAT, x->shape);
}

static void cost(const OpCall *call, Cost *forward, Cost *backward) {
    const double bytes = 4 * (double)tensor_size(call->in[0]);
    *forward = *backward = (Cost){.bytes_read = bytes, .bytes_written = bytes};
}

#define ROWS(...)                                                                                  \
    { .shape = SHAPE(__VA_ARGS__), .fill = FILL_NORMAL, .a = 1 }
#define LENGTHS(B, L)                                                                              \
    { .shape = SHAPE(B), .fill = FILL_INTEGER, .a = 0, .b = (L) + 1 }

static const OpCase cases[] = {
    {.name = "L1D1", .in = {ROWS(1, 1, 1), LENGTHS(1, 1)}},
    {.name = "B5L7D3", .in = {ROWS(5, 7, 3), LENGTHS(5, 7)}},
    {.name = "B11L67D33", .in = {ROWS(11, 67, 33), LENGTHS(11, 67)}},
    {.name = "B2L1009D20", .in = {ROWS(2, 1009, 20), LENGTHS(2, 1009)}},
    {.name = "L1024D64", .in = {ROWS(8, 1024, 64), LENGTHS(8, 1024)}, .benchmark = true},
};

const Op op_mask_padding = {
    .name = "mask_padding",
    .summary = "y[b, t] = x[b, t] for t < length of b, otherwise 0",
    .inputs = 2,
    .outputs = 1,
    .needs_inputs = 2,
    .gradients = 1,
    .shape = shape,
    .cost = cost,
    .cpu = OP_CPU(mask_padding),
    .reference = mask_padding_reference,
    OP_CASES(cases),
};

Tensor *mask_padding(Tape *tape, Tensor *x, Tensor *lengths) {
    Tensor *in[] = {x, lengths};
    return tape_apply(tape, &op_mask_padding, in, 2, NULL)->out[0];
}
