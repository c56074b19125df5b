#include "engine/ops/positions/positions.h"

#include <math.h>

OP_CPU_DECLARE(positions);
void positions_reference(const ReferenceCall *call);

static void shape(Tape *tape, OpCall *call) {
    const Tensor *x = call->in[0], *table = call->in[1], *position = call->in[2];
    if (x->shape.rank != 3 || table->shape.rank != 2 || extent(table, 1) != extent(x, 2) ||
        extent(table, 0) < extent(x, 1)) {
        tape_fail(tape, call,
                  "x has %ld rows of %ld channels, the table %ld of %ld; expected x (B, L, D) and "
                  "a table (Lmax, D) with L <= Lmax",
                  (long)extent(x, -2), (long)extent(x, -1), (long)extent(table, 0),
                  (long)extent(table, -1));
        return;
    }
    if (position && (position->type != TENSOR_INTEGER || tensor_size(position) != 1)) {
        tape_fail(tape, call, "position must be one integer");
        return;
    }
    tape_output(tape, call, TENSOR_FLOAT, x->shape);
}

static void cost(const OpCall *call, Cost *forward, Cost *backward) {
    const double n = (double)tensor_size(call->in[0]);
    const double rows = (double)(extent(call->in[0], 1) * extent(call->in[0], 2));
    *forward = (Cost){.flops = n, .bytes_read = 4 * (n + rows), .bytes_written = 4 * n};
    *backward = (Cost){.flops = n, .bytes_read = 4 * n, .bytes_written = 4 * rows};
}

Tensor *positions(Tape *tape, Tensor *x, Tensor *table, Tensor *position) {
    Tensor *in[] = {x, table, position};
    return tape_apply(tape, &op_positions, in, 3, NULL)->out[0];
}

static void fill_sinusoids(float *data, const Shape *shape, Random *random, double a, double b) {
    (void)random, (void)a, (void)b;
    const int64_t width = shape->extent[1];
    for (int64_t t = 0; t < shape->extent[0]; t++)
        for (int64_t c = 0; c < width; c++) {
            const double angle = (double)t * pow(1e4, -(double)(c / 2 * 2) / (double)width);
            data[t * width + c] = (float)(c % 2 ? cos(angle) : sin(angle));
        }
}

Tensor *sinusoids(Tape *tape, const char *name, Shape shape) {
    return tape_parameter(tape, name, shape, init_fill(fill_sinusoids, 0, 0),
                          (Group){.frozen = true});
}

#define NORMAL(...)                                                                                \
    { .shape = SHAPE(__VA_ARGS__), .fill = FILL_NORMAL, .a = 1 }

static const OpCase cases[] = {
    {.name = "L1D1", .in = {NORMAL(1, 1, 1), NORMAL(1, 1)}},
    {.name = "L7D13_of_11", .in = {NORMAL(3, 7, 13), NORMAL(11, 13)}},
    {.name = "L67D33", .in = {NORMAL(17, 67, 33), NORMAL(67, 33)}},
    {.name = "step_L20D19",
     .in = {NORMAL(5, 1, 19), NORMAL(20, 19), {.shape = SHAPE(1), .fill = FILL_COUNT, .a = 19}}},
    {.name = "L512D128", .in = {NORMAL(8, 512, 128), NORMAL(512, 128)}, .benchmark = true},
};

const Op op_positions = {
    .name = "positions",
    .summary = "y[t] = x[t] + table[t]",
    .inputs = 3,
    .outputs = 1,
    .needs_inputs = 4,
    .passes = 1,
    .gradients = 3,
    .shape = shape,
    .cost = cost,
    .cpu = OP_CPU(positions),
    .reference = positions_reference,
    OP_CASES(cases),
};
