#include "engine/ops/liquid_products/liquid_products.h"

static void shape(Tape *tape, OpCall *call) {
    const LiquidProducts *attributes = call->attributes;
    const Tensor *u = call->in[0];
    if (u->shape.rank != 3)
        tape_fail(tape, call, "u must be (B, L, D), not of rank %d", u->shape.rank);
    if (attributes->degree < 2 || attributes->degree > LIQUID_MOST_DEGREE)
        tape_fail(tape, call, "the degree must be 2 .. %d, not %d", LIQUID_MOST_DEGREE,
                  attributes->degree);
    tape_output(tape, call, TENSOR_FLOAT, u->shape);
}

/* Backward: the other factors of each. */
static void cost(const OpCall *call, Cost *forward, Cost *backward) {
    const LiquidProducts *attributes = call->attributes;
    const double size = (double)tensor_size(call->in[0]), p = attributes->degree;
    *forward = (Cost){.flops = (p - 1) * size, .bytes_read = 4 * size, .bytes_written = 4 * size};
    *backward = (Cost){.flops = p * p * size, .bytes_read = 8 * size, .bytes_written = 4 * size};
}

/* The combinations of all tokens. */
static size_t scratch(const OpCall *call, int threads, Phase phase) {
    (void)threads, (void)phase;
    const LiquidProducts *attributes = call->attributes;
    return (size_t)(extent(call->in[0], 1) * attributes->degree) * sizeof(int32_t);
}

#define SEQUENCE(B, L, D)                                                                          \
    { SHAPE(B, L, D), FILL_NORMAL, 1, 0 }
#define DEGREE(P, REVERSED)                                                                        \
    &(const LiquidProducts) {                                                                      \
        P, REVERSED                                                                                \
    }

static const OpCase cases[] = {
    {.name = "B1L1D1", .in = {SEQUENCE(1, 1, 1)}, .attributes = DEGREE(2, true)},
    {.name = "B2L3D5", .in = {SEQUENCE(2, 3, 5)}, .attributes = DEGREE(2, false)},
    {.name = "B2L8D5", .in = {SEQUENCE(2, 8, 5)}, .attributes = DEGREE(2, true)},
    {.name = "B3L37D17P3", .in = {SEQUENCE(3, 37, 17)}, .attributes = DEGREE(3, true)},
    {.name = "B2L64D33P4", .in = {SEQUENCE(2, 64, 33)}, .attributes = DEGREE(4, false)},
    {.name = "B16L1024D64",
     .in = {SEQUENCE(16, 1024, 64)},
     .attributes = DEGREE(2, true),
     .benchmark = true},
};

OP_CPU_DECLARE(liquid_products);

const Op op_liquid_products = {
    .name = "liquid_products",
    .summary = "y[t] = product of u at the t-th combination of p of the last tokens",
    .inputs = 1,
    .outputs = 1,
    .attribute_bytes = sizeof(LiquidProducts),
    .needs_inputs = 1,
    .gradients = 1,
    .shape = shape,
    .cost = cost,
    .scratch = scratch,
    .cpu = OP_CPU(liquid_products),
    .reference = liquid_products_reference,
    OP_CASES(cases),
};

Tensor *liquid_products(Tape *tape, Tensor *u, LiquidProducts attributes) {
    return tape_apply(tape, &op_liquid_products, &u, 1, &attributes)->out[0];
}
