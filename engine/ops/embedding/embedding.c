#include "engine/ops/embedding/embedding.h"

static void shape(Tape *tape, OpCall *call) {
    const Tensor *ids = call->in[0], *table = call->in[1];
    if (ids->type != TENSOR_INTEGER || table->shape.rank != 2 || ids->shape.rank == MAX_RANK) {
        tape_fail(tape, call,
                  "needs integer ids of at most %d extents and a table (V, D), but %s has %d "
                  "extents and %s has %d",
                  MAX_RANK - 1, ids->name, ids->shape.rank, table->name, table->shape.rank);
        return;
    }
    Shape out = ids->shape;
    out.extent[out.rank++] = extent(table, 1);
    tape_output(tape, call, TENSOR_FLOAT, out);
}

static void cost(const OpCall *call, Cost *forward, Cost *backward) {
    const double rows = (double)tensor_size(call->in[0]), width = (double)extent(call->in[1], 1);
    const Embedding *attributes = call->attributes;
    const double scaled = attributes->factor == 1.0f ? 0 : 1;
    forward->flops = scaled * rows * width;
    forward->bytes_read = 4 * rows * (width + 1);
    forward->bytes_written = 4 * rows * width;
    backward->flops = (1 + scaled) * rows * width;
    backward->bytes_read = 4 * rows * (2 * width + 1);
    backward->bytes_written = 4 * rows * width;
}

#define IDS(V, ...)                                                                                \
    { .shape = SHAPE(__VA_ARGS__), .fill = FILL_INTEGER, .a = 0, .b = (V) }
#define TABLE(V, D)                                                                                \
    { .shape = SHAPE(V, D), .fill = FILL_NORMAL, .a = 1 }
#define FACTOR(c)                                                                                  \
    .attributes = &(const Embedding) {                                                             \
        c                                                                                          \
    }

static const OpCase cases[] = {
    {.name = "B1V1D1", .in = {IDS(1, 1), TABLE(1, 1)}, FACTOR(1)},
    {.name = "B3L7V5D3", .in = {IDS(5, 3, 7), TABLE(5, 3)}, FACTOR(1)},
    {.name = "B2L3x5V11D67", .in = {IDS(11, 2, 3, 5), TABLE(11, 67)}, FACTOR(8)},
    {.name = "R300V9D1036", .in = {IDS(9, 300), TABLE(9, 1036)}, FACTOR(1)},
    {.name = "R520V1500D132", .in = {IDS(1500, 520), TABLE(1500, 132)}, FACTOR(2)},
    {.name = "R1009V2D40", .in = {IDS(2, 1009), TABLE(2, 40)}, FACTOR(0.5f)},
    {.name = "B64L64V256D64",
     .in = {IDS(256, 64, 64), TABLE(256, 64)},
     FACTOR(1),
     .benchmark = true},
    {.name = "B8L2048V50304D2048",
     .in = {IDS(50304, 8, 2048), TABLE(50304, 2048)},
     FACTOR(1),
     .gpu = true},
};

void embedding_reference(const ReferenceCall *call);
OP_CPU_DECLARE(embedding);

const Op op_embedding = {
    .name = "embedding",
    .summary = "y[r] = factor table[id[r]]",
    .inputs = 2,
    .outputs = 1,
    .attribute_bytes = sizeof(Embedding),
    .needs_inputs = 1,
    .gradients = 2,
    .shape = shape,
    .cost = cost,
    .cpu = OP_CPU(embedding),
    .reference = embedding_reference,
    OP_CASES(cases),
};

Tensor *embedding(Tape *tape, Tensor *ids, Tensor *table, double factor) {
    Tensor *in[] = {ids, table};
    return tape_apply(tape, &op_embedding, in, 2, &(Embedding){(float)factor})->out[0];
}
