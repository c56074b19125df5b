#include "engine/ops/repeat/repeat.h"

OP_CPU_DECLARE(repeat);
void repeat_reference(const ReferenceCall *call);

static void shape(Tape *tape, OpCall *call) {
    const Repeat *attributes = call->attributes;
    const Tensor *x = call->in[0];
    const bool fits =
        attributes->columns ? x->shape.rank == 2 && extent(x, 1) == 1 : x->shape.rank == 1;
    if (!fits || attributes->times < 1) {
        tape_fail(tape, call, "expected rows of a vector (C) or columns of (R, 1), at least once");
        return;
    }
    tape_output(tape, call, TENSOR_FLOAT,
                attributes->columns ? SHAPE(extent(x, 0), attributes->times)
                                    : SHAPE(attributes->times, extent(x, 0)));
}

static void cost(const OpCall *call, Cost *forward, Cost *backward) {
    const double x = (double)tensor_size(call->in[0]), y = (double)tensor_size(call->out[0]);
    *forward = (Cost){.bytes_read = 4 * x, .bytes_written = 4 * y};
    *backward = (Cost){.flops = y, .bytes_read = 4 * y, .bytes_written = 4 * x};
}

static Tensor *repeat(Tape *tape, Tensor *x, Repeat attributes) {
    return tape_apply(tape, &op_repeat, &x, 1, &attributes)->out[0];
}

Tensor *repeat_rows(Tape *tape, Tensor *x, int64_t times) {
    return repeat(tape, x, (Repeat){.times = times});
}

Tensor *repeat_columns(Tape *tape, Tensor *x, int64_t times) {
    return repeat(tape, x, (Repeat){.times = times, .columns = true});
}

#define ROWS(label, C, times_)                                                                     \
    .name = label, .in = {{SHAPE(C), FILL_NORMAL, 1, 0}}, .attributes = &(const Repeat) {          \
        .times = times_                                                                            \
    }
#define COLUMNS(label, R, times_)                                                                  \
    .name = label, .in = {{SHAPE(R, 1), FILL_NORMAL, 1, 0}}, .attributes = &(const Repeat) {       \
        .times = times_, .columns = true                                                           \
    }

static const OpCase cases[] = {
    {ROWS("rows1C1", 1, 1)},
    {ROWS("rows13C37", 37, 13)},
    {ROWS("rows131C3", 3, 131)},
    {COLUMNS("R1columns1", 1, 1)},
    {COLUMNS("R11columns67", 11, 67)},
    {COLUMNS("R67columns130", 67, 130)},
    {COLUMNS("R512columns256", 512, 256), .benchmark = true},
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
