#include "engine/ops/prepend/prepend.h"

OP_CPU_DECLARE(prepend);
void prepend_reference(const ReferenceCall *call);

static void shape(Tape *tape, OpCall *call) {
    const Tensor *x = call->in[0], *front = call->in[1];
    if (x->shape.rank != 3 || front->shape.rank != 2 || extent(front, 1) != extent(x, 2)) {
        tape_fail(tape, call,
                  "rows of %lld channels in front of rows of %lld; expected x (B, L, D) and front "
                  "(K, D)",
                  (long long)extent(front, -1), (long long)extent(x, -1));
        return;
    }
    tape_output(tape, call, TENSOR_FLOAT,
                SHAPE(extent(x, 0), extent(front, 0) + extent(x, 1), extent(x, 2)));
}

static void cost(const OpCall *call, Cost *forward, Cost *backward) {
    const double x = (double)tensor_size(call->in[0]), front = (double)tensor_size(call->in[1]);
    const double y = (double)tensor_size(call->out[0]);
    *forward = (Cost){.bytes_read = 4 * (x + front), .bytes_written = 4 * y};
    *backward = (Cost){.flops = y - x, .bytes_read = 4 * y, .bytes_written = 4 * (x + front)};
}

Tensor *prepend(Tape *tape, Tensor *x, Tensor *front) {
    Tensor *in[] = {x, front};
    return tape_apply(tape, &op_prepend, in, 2, NULL)->out[0];
}

#define NORMAL(...)                                                                                \
    { .shape = SHAPE(__VA_ARGS__), .fill = FILL_NORMAL, .a = 1 }

static const OpCase cases[] = {
    {.name = "L1D1", .in = {NORMAL(1, 1, 1), NORMAL(1, 1)}},
    {.name = "L7D13", .in = {NORMAL(3, 7, 13), NORMAL(1, 13)}},
    {.name = "K5L3D67", .in = {NORMAL(11, 3, 67), NORMAL(5, 67)}},
    {.name = "L1024D64", .in = {NORMAL(8, 1024, 64), NORMAL(1, 64)}, .benchmark = true},
};

const Op op_prepend = {
    .name = "prepend",
    .summary = "y[b] = front, then x[b]",
    .inputs = 2,
    .outputs = 1,
    .gradients = 3,
    .shape = shape,
    .cost = cost,
    .cpu = OP_CPU(prepend),
    .reference = prepend_reference,
    OP_CASES(cases),
};
