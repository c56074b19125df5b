#include "engine/ops/cache_append/cache_append.h"

OP_CPU_DECLARE(cache_append);
void cache_append_reference(const ReferenceCall *call);

static void shape(Tape *tape, OpCall *call) {
    const CacheAppend *attributes = call->attributes;
    const Tensor *cache = call->in[0], *x = call->in[1], *position = call->in[2];
    if (cache->shape.rank != 3 || x->shape.rank != 3 || extent(x, 0) != extent(cache, 0) ||
        extent(x, 1) != 1 || attributes->column < 0 ||
        attributes->column + extent(cache, 2) > extent(x, 2)) {
        tape_fail(tape, call,
                  "a row of %ld channels from %ld on of x (.., %ld) does not fit the cache; "
                  "expected cache (B, Lmax, W) and x (B, 1, E)",
                  (long)extent(cache, -1), (long)attributes->column, (long)extent(x, -1));
        return;
    }
    if (position->type != TENSOR_INTEGER || tensor_size(position) != 1) {
        tape_fail(tape, call, "position must be one integer");
        return;
    }
    tape_output(tape, call, TENSOR_FLOAT, cache->shape);
    call->shares = 1;
}

static void cost(const OpCall *call, Cost *forward, Cost *backward) {
    const double bytes = 4 * (double)(extent(call->in[0], 0) * extent(call->in[0], 2));
    *forward = (Cost){.bytes_read = bytes, .bytes_written = bytes};
    *backward = (Cost){0};
}

Tensor *cache_append(Tape *tape, const char *name, int64_t rows, Tensor *x,
                     CacheAppend attributes) {
    const Shape shape = SHAPE(extent(x, 0), rows, extent(x, 2) - attributes.column);
    Tensor *in[] = {tape_carry(tape, name, shape), x, tape_position(tape)};
    Tensor *cache = tape_apply(tape, &op_cache_append, in, 3, &attributes)->out[0];
    tape_carry_out(tape, name, cache);
    return cache;
}

#define NORMAL(...)                                                                                \
    { .shape = SHAPE(__VA_ARGS__), .fill = FILL_NORMAL, .a = 1 }
#define POSITION(t)                                                                                \
    { .shape = SHAPE(1), .fill = FILL_COUNT, .a = t }

static const CacheAppend all = {0}, from_7 = {.column = 7}, ring = {.ring = true};

static const OpCase cases[] = {
    {.name = "L1W1",
     .in = {NORMAL(1, 1, 1), NORMAL(1, 1, 1), POSITION(0)},
     .attributes = &all,
     .gradient_free = true},
    {.name = "L11W13_of_20",
     .in = {NORMAL(3, 11, 13), NORMAL(3, 1, 20), POSITION(10)},
     .attributes = &from_7,
     .gradient_free = true},
    {.name = "full_L5W8",
     .in = {NORMAL(2, 5, 8), NORMAL(2, 1, 8), POSITION(5)},
     .attributes = &all,
     .gradient_free = true},
    {.name = "ring_L5W8",
     .in = {NORMAL(2, 5, 8), NORMAL(2, 1, 8), POSITION(8)},
     .attributes = &ring,
     .gradient_free = true},
    {.name = "L1024W512",
     .in = {NORMAL(4, 1024, 512), NORMAL(4, 1, 768), POSITION(500)},
     .attributes = &from_7,
     .gradient_free = true},
};

const Op op_cache_append = {
    .name = "cache_append",
    .summary = "cache[position] = x, in place",
    .inputs = 3,
    .outputs = 1,
    .attribute_bytes = sizeof(CacheAppend),
    .shape = shape,
    .cost = cost,
    .cpu = OP_CPU(cache_append),
    .reference = cache_append_reference,
    OP_CASES(cases),
};
