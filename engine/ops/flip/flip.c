#include "engine/ops/flip/flip.h"

OP_CPU_DECLARE(flip);
void flip_reference(const ReferenceCall *call);

static void shape(Tape *tape, OpCall *call) {
    if (call->in[0]->shape.rank != 3)
        tape_fail(tape, call, "x must be (B, L, D), not of rank %d", call->in[0]->shape.rank);
    tape_output(tape, call, TENSOR_FLOAT, call->in[0]->shape);
}

static void cost(const OpCall *call, Cost *forward, Cost *backward) {
    const double bytes = 4 * (double)tensor_size(call->in[0]);
    *forward = *backward = (Cost){.bytes_read = bytes, .bytes_written = bytes};
}

Tensor *flip(Tape *tape, Tensor *x) {
    return tape_apply(tape, &op_flip, &x, 1, NULL)->out[0];
}

#define ROW(label, B, L, D) .name = label, .in = {{SHAPE(B, L, D), FILL_NORMAL, 1, 0}}

static const OpCase cases[] = {
    {ROW("B1L1D1", 1, 1, 1)},
    {ROW("B3L7D5", 3, 7, 5)},
    {ROW("B2L64D33", 2, 64, 33)},
    {ROW("B2L1024D128", 2, 1024, 128), .benchmark = true},
};

const Op op_flip = {
    .name = "flip",
    .summary = "y[t] = x[L - 1 - t]",
    .inputs = 1,
    .outputs = 1,
    .gradients = 1,
    .shape = shape,
    .cost = cost,
    .cpu = OP_CPU(flip),
    .reference = flip_reference,
    OP_CASES(cases),
};
