#include "engine/ops/gather_rows/gather_rows.h"

static void shape(Tape *tape, OpCall *call) {
    const Tensor *x = call->in[0], *positions = call->in[1];
    if (x->shape.rank != 3 || positions->shape.rank != 2 || positions->type != TENSOR_INTEGER ||
        extent(positions, 0) != extent(x, 0)) {
        tape_fail(tape, call,
                  "needs x (B, L, D) and integer positions (B, K) with the same B, but %s has %d "
                  "extents, the first %lld, and %s has %d, the first %lld",
                  x->name, x->shape.rank, (long long)extent(x, 0), positions->name,
                  positions->shape.rank, (long long)extent(positions, 0));
        return;
    }
    tape_output(tape, call, TENSOR_FLOAT, SHAPE(tensor_size(positions), extent(x, 2)));
}

static void cost(const OpCall *call, Cost *forward, Cost *backward) {
    const double moved = 4.0 * (double)tensor_size(call->out[0]);
    const double positions = 4.0 * (double)tensor_size(call->in[1]);
    forward->bytes_read = moved + positions;
    forward->bytes_written = moved;
    backward->flops = moved / 4;
    backward->bytes_read = 2 * moved + positions;
    backward->bytes_written = moved + 4.0 * (double)tensor_size(call->in[0]);
}

#define ROWS(B, L, D)                                                                              \
    { .shape = SHAPE(B, L, D), .fill = FILL_NORMAL, .a = 1 }
#define POSITIONS(B, K, L)                                                                         \
    { .shape = SHAPE(B, K), .fill = FILL_INTEGER, .a = 0, .b = (L) }

static const OpCase cases[] = {
    {.name = "B1L1D1K1", .in = {ROWS(1, 1, 1), POSITIONS(1, 1, 1)}},
    {.name = "B3L7D5K2", .in = {ROWS(3, 7, 5), POSITIONS(3, 2, 7)}},
    {.name = "B2L3D67K11", .in = {ROWS(2, 3, 67), POSITIONS(2, 11, 3)}},
    {.name = "B1L499D33K101", .in = {ROWS(1, 499, 33), POSITIONS(1, 101, 499)}},
    {.name = "B64L64D64K8", .in = {ROWS(64, 64, 64), POSITIONS(64, 8, 64)}, .benchmark = true},
};

void gather_rows_reference(const ReferenceCall *call);
OP_CPU_DECLARE(gather_rows);

const Op op_gather_rows = {
    .name = "gather_rows",
    .summary = "y[b K + k] = x[b, position[b, k]]",
    .inputs = 2,
    .outputs = 1,
    .needs_inputs = 2,
    .gradients = 1,
    .shape = shape,
    .cost = cost,
    .cpu = OP_CPU(gather_rows),
    .reference = gather_rows_reference,
    OP_CASES(cases),
};

Tensor *gather_rows(Tape *tape, Tensor *x, Tensor *positions) {
    Tensor *in[] = {x, positions};
    return tape_apply(tape, &op_gather_rows, in, 2, NULL)->out[0];
}
