#include "engine/ops/weight_norm/weight_norm.h"

OP_CPU_DECLARE(weight_norm);
void weight_norm_reference(const ReferenceCall *call);

static void shape(Tape *tape, OpCall *call) {
    const Tensor *v = call->in[0];
    if (v->shape.rank != 2 || extent(v, 0) < 2) {
        tape_fail(tape, call, "expected (I + 1, O): at least one row of directions, then lengths");
        return;
    }
    tape_output(tape, call, TENSOR_FLOAT, SHAPE(extent(v, 0) - 1, extent(v, 1)));
}

static void cost(const OpCall *call, Cost *forward, Cost *backward) {
    const double n = (double)tensor_size(call->out[0]), columns = (double)extent(call->out[0], 1);
    *forward = (Cost){
        .flops = 3 * n, .specials = 2 * columns, .bytes_read = 4 * n, .bytes_written = 4 * n};
    *backward = (Cost){
        .flops = 7 * n, .specials = 2 * columns, .bytes_read = 8 * n, .bytes_written = 4 * n};
}

Tensor *weight_norm(Tape *tape, Tensor *parameter) {
    Tensor *in[] = {parameter};
    return tape_apply(tape, &op_weight_norm, in, 1, NULL)->out[0];
}

#define NAMED(label, I, O)                                                                         \
    {                                                                                              \
        .name = label, .in = { {SHAPE(I + 1, O), FILL_NORMAL, 1, 0} }                              \
    }

static const OpCase cases[] = {
    NAMED("I2O1", 2, 1),
    NAMED("I3O17", 3, 17),
    NAMED("I67O33", 67, 33),
    {.name = "I32O900", .in = {{SHAPE(33, 900), FILL_NORMAL, 1, 0}}, .benchmark = true},
};

const Op op_weight_norm = {
    .name = "weight_norm",
    .summary = "w = g v / |v|, column by column",
    .inputs = 1,
    .outputs = 1,
    .needs_inputs = 1,
    .gradients = 1,
    .shape = shape,
    .cost = cost,
    .cpu = OP_CPU(weight_norm),
    .reference = weight_norm_reference,
    OP_CASES(cases),
};
