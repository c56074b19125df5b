#include "engine/ops/repeat/repeat.h"

OP_CPU_DECLARE(repeat);
void repeat_reference(const ReferenceCall *call);

static void shape(Tape *tape, OpCall *call) {
    const Repeat *attributes = call->attributes;
    Shape shape = call->in[0]->shape;
    if (attributes->times < 1 || attributes->width < 1 ||
        extent(call->in[0], -1) % attributes->width) {
        tape_fail(tape, call, "expected (.., n C) with C = %ld, at least once",
                  (long)attributes->width);
        return;
    }
    shape.extent[shape.rank - 1] *= attributes->times;
    tape_output(tape, call, TENSOR_FLOAT, shape);
}

static void cost(const OpCall *call, Cost *forward, Cost *backward) {
    const double x = (double)tensor_size(call->in[0]), y = (double)tensor_size(call->out[0]);
    *forward = (Cost){.bytes_read = 4 * x, .bytes_written = 4 * y};
    *backward = (Cost){.flops = y, .bytes_read = 4 * y, .bytes_written = 4 * x};
}

Tensor *repeat_heads(Tape *tape, Tensor *x, int64_t width, int64_t times) {
    const Repeat attributes = {times, width};
    return tape_apply(tape, &op_repeat, &x, 1, &attributes)->out[0];
}

Tensor *repeat_rows(Tape *tape, Tensor *x, int64_t times) {
    const int64_t width = extent(x, -1);
    return tape_reshape(tape, repeat_heads(tape, x, width, times), SHAPE(times, width));
}

Tensor *repeat_columns(Tape *tape, Tensor *x, int64_t times) {
    return repeat_heads(tape, x, 1, times);
}

#define ROW(label, width_, times_, ...)                                                            \
    .name = label, .in = {{SHAPE(__VA_ARGS__), FILL_NORMAL, 1, 0}},                                \
    .attributes = &(const Repeat) {                                                                \
        .times = times_, .width = width_                                                           \
    }

static const OpCase cases[] = {
    {ROW("rows1C1", 1, 1, 1)},
    {ROW("rows13C37", 37, 13, 37)},
    {ROW("rows131C3", 3, 131, 3)},
    {ROW("R1columns1", 1, 1, 1, 1)},
    {ROW("R11columns67", 1, 67, 11, 1)},
    {ROW("R67columns130", 1, 130, 67, 1)},
    {ROW("heads2C3", 3, 5, 2, 7, 6)},
    {ROW("heads2C37", 37, 2, 3, 11, 74)},
    {ROW("heads1C16", 16, 40, 5, 16)},
    {ROW("R512columns256", 1, 256, 512, 1), .benchmark = true},
    {ROW("L1024heads2C64", 64, 2, 8, 1024, 128), .benchmark = true},
};

const Op op_repeat = {
    .name = "repeat",
    .summary = "y[r, i, c] = x[r, c]",
    .inputs = 1,
    .outputs = 1,
    .attribute_bytes = sizeof(Repeat),
    .gradients = 1,
    .shape = shape,
    .cost = cost,
    .cpu = OP_CPU(repeat),
    .reference = repeat_reference,
    OP_CASES(cases),
};
