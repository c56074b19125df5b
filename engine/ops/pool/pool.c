#include "engine/ops/pool/pool.h"

static void shape(Tape *tape, OpCall *call) {
    const Tensor *x = call->in[0], *lengths = call->in[1];
    if (x->shape.rank != 3) {
        tape_fail(tape, call, "needs x (B, L, D), but %s has %d extents", x->name, x->shape.rank);
        return;
    }
    if (lengths && (lengths->type != TENSOR_INTEGER || tensor_size(lengths) != extent(x, 0))) {
        tape_fail(tape, call, "needs one integer length per sequence, %lld, but %s has %lld",
                  (long long)extent(x, 0), lengths->name, (long long)tensor_size(lengths));
        return;
    }
    tape_output(tape, call, TENSOR_FLOAT, SHAPE(extent(x, 0), extent(x, 2)));
}

static void cost(const OpCall *call, Cost *forward, Cost *backward) {
    const Pool *attributes = call->attributes;
    const double size = (double)tensor_size(call->in[0]), out = (double)tensor_size(call->out[0]);
    const bool mean = attributes->pooling == POOL_MEAN;
    forward->flops = mean ? size + out : 0;
    forward->bytes_read = 4 * (mean ? size : out);
    forward->bytes_written = 4 * out;
    backward->flops = mean ? out : 0;
    backward->bytes_read = 4 * out;
    backward->bytes_written = 4 * size;
}

#define ROWS(B, L, D)                                                                              \
    { .shape = SHAPE(B, L, D), .fill = FILL_NORMAL, .a = 1, .b = 0.5 }
#define LENGTHS(B, L)                                                                              \
    { .shape = SHAPE(B), .fill = FILL_INTEGER, .a = 1, .b = (L) + 1 }
#define MEAN                                                                                       \
    .attributes = &(const Pool) {                                                                  \
        POOL_MEAN                                                                                  \
    }
#define LAST                                                                                       \
    .attributes = &(const Pool) {                                                                  \
        POOL_LAST                                                                                  \
    }

#define FIRST                                                                                      \
    .attributes = &(const Pool) {                                                                  \
        POOL_FIRST                                                                                 \
    }

static const OpCase cases[] = {
    {.name = "mean1x1x1", .in = {ROWS(1, 1, 1)}, MEAN},
    {.name = "mean3x7x5", .in = {ROWS(3, 7, 5)}, MEAN},
    {.name = "mean5x11x67lengths", .in = {ROWS(5, 11, 67), LENGTHS(5, 11)}, MEAN},
    {.name = "mean2x1009x33", .in = {ROWS(2, 1009, 33), LENGTHS(2, 1009)}, MEAN},
    {.name = "last1x1x1", .in = {ROWS(1, 1, 1)}, LAST},
    {.name = "last3x7x5", .in = {ROWS(3, 7, 5)}, LAST},
    {.name = "last5x11x67lengths", .in = {ROWS(5, 11, 67), LENGTHS(5, 11)}, LAST},
    {.name = "first1x1x1", .in = {ROWS(1, 1, 1)}, FIRST},
    {.name = "first3x331x5", .in = {ROWS(3, 331, 5)}, FIRST},
    {.name = "first5x11x67lengths", .in = {ROWS(5, 11, 67), LENGTHS(5, 11)}, FIRST},
    {.name = "mean16x256x64", .in = {ROWS(16, 256, 64)}, MEAN, .benchmark = true},
};

void pool_reference(const ReferenceCall *call);
OP_CPU_DECLARE(pool);

const Op op_pool = {
    .name = "pool",
    .summary = "y[b] = mean of x[b, 0 .. length - 1], x[b, length - 1] or x[b, 0]",
    .inputs = 2,
    .outputs = 1,
    .attribute_bytes = sizeof(Pool),
    .needs_inputs = 2,
    .gradients = 1,
    .shape = shape,
    .cost = cost,
    .cpu = OP_CPU(pool),
    .reference = pool_reference,
    OP_CASES(cases),
};

Tensor *pool(Tape *tape, Tensor *x, Tensor *lengths, Pooling pooling) {
    Tensor *in[] = {x, lengths};
    return tape_apply(tape, &op_pool, in, 2, &(Pool){pooling})->out[0];
}
