/* Bound by memory for add, multiply and scale (12 bytes an element forward), by arithmetic for the
 * activations while the data are in cache. */
#include "engine/ops/pointwise/pointwise.h"

#include "engine/activation_simd.h"
#include "engine/gradient_simd.h"

/* Elements that one thread handles at a time: three arrays of them fit the second-level cache. */
enum { BLOCK = 1 << 14 };

typedef struct Block {
    PointwiseFunction function;
    float factor;
    const float *a, *b, *slope; /* slope: gradient of y */
    float *y;
    GradientTarget into_a, into_b;
    int64_t from, to;
} Block;

ALWAYS_INLINE void value(const Block *block, PointwiseFunction function, Activation activation,
                         int64_t i, int64_t n) {
    const bool two = function != POINTWISE_ACTIVATE && function != POINTWISE_SCALE;
    const vfloat a = v_load_part(block->a + i, n);
    const vfloat b = two ? v_load_part(block->b + i, n) : a;
    vfloat y = a;
    if (function == POINTWISE_ADD) y = a + b;
    if (function == POINTWISE_MULTIPLY) y = a * b;
    if (function == POINTWISE_GATE) y = a * v_activate(activation, b);
    if (function == POINTWISE_ACTIVATE) y = v_activate(activation, a);
    if (function == POINTWISE_SCALE) y = a * block->factor;
    v_store_part(block->y + i, y, n);
}

ALWAYS_INLINE void slopes(const Block *block, PointwiseFunction function, Activation activation,
                          int64_t i, int64_t n) {
    const bool reads = function != POINTWISE_ADD && function != POINTWISE_SCALE;
    const bool two = function == POINTWISE_MULTIPLY || function == POINTWISE_GATE;
    const vfloat slope = v_load_part(block->slope + i, n);
    const vfloat a = reads ? v_load_part(block->a + i, n) : slope;
    const vfloat b = two ? v_load_part(block->b + i, n) : a;
    vfloat to_a = slope, to_b = slope;
    if (function == POINTWISE_MULTIPLY) {
        to_a = slope * b;
        to_b = slope * a;
    }
    if (function == POINTWISE_GATE) {
        to_a = slope * v_activate(activation, b);
        to_b = slope * a * v_activate_gradient(activation, b);
    }
    if (function == POINTWISE_ACTIVATE) to_a = slope * v_activate_gradient(activation, a);
    if (function == POINTWISE_SCALE) to_a = slope * block->factor;
    if (block->into_a.data) v_deliver(block->into_a, i, to_a, n);
    if (block->into_b.data) v_deliver(block->into_b, i, to_b, n);
}

/* The loops work on a copy, which no store can reach: its pointers stay in registers. */
ALWAYS_INLINE void values(const Block *shared, PointwiseFunction function, Activation activation) {
    const Block block = *shared;
    int64_t i = block.from;
    for (; i + LANES <= block.to; i += LANES) value(&block, function, activation, i, LANES);
    if (i < block.to) value(&block, function, activation, i, block.to - i);
}

ALWAYS_INLINE void all_slopes(const Block *shared, PointwiseFunction function,
                              Activation activation) {
    const Block block = *shared;
    int64_t i = block.from;
    for (; i + LANES <= block.to; i += LANES) slopes(&block, function, activation, i, LANES);
    if (i < block.to) slopes(&block, function, activation, i, block.to - i);
}

ALWAYS_INLINE void gate_values(Activation activation, void *block) {
    values(block, POINTWISE_GATE, activation);
}
ALWAYS_INLINE void gate_slopes(Activation activation, void *block) {
    all_slopes(block, POINTWISE_GATE, activation);
}
ALWAYS_INLINE void activate_values(Activation activation, void *block) {
    values(block, POINTWISE_ACTIVATE, activation);
}
ALWAYS_INLINE void activate_slopes(Activation activation, void *block) {
    all_slopes(block, POINTWISE_ACTIVATE, activation);
}

static void forward_block(Block *block, Activation activation) {
    switch (block->function) {
    case POINTWISE_ADD:
        values(block, POINTWISE_ADD, ACTIVATION_NONE);
        break;
    case POINTWISE_MULTIPLY:
        values(block, POINTWISE_MULTIPLY, ACTIVATION_NONE);
        break;
    case POINTWISE_GATE:
        for_activation(activation, gate_values, block);
        break;
    case POINTWISE_ACTIVATE:
        for_activation(activation, activate_values, block);
        break;
    case POINTWISE_SCALE:
        values(block, POINTWISE_SCALE, ACTIVATION_NONE);
        break;
    case POINTWISE_COUNT:
        break;
    }
}

static void backward_block(Block *block, Activation activation) {
    switch (block->function) {
    case POINTWISE_ADD:
        all_slopes(block, POINTWISE_ADD, ACTIVATION_NONE);
        break;
    case POINTWISE_MULTIPLY:
        all_slopes(block, POINTWISE_MULTIPLY, ACTIVATION_NONE);
        break;
    case POINTWISE_GATE:
        for_activation(activation, gate_slopes, block);
        break;
    case POINTWISE_ACTIVATE:
        for_activation(activation, activate_slopes, block);
        break;
    case POINTWISE_SCALE:
        all_slopes(block, POINTWISE_SCALE, ACTIVATION_NONE);
        break;
    case POINTWISE_COUNT:
        break;
    }
}

static Block block_of(const OpCall *call) {
    const Pointwise *attributes = call->attributes;
    return (Block){.function = attributes->function,
                   .factor = attributes->factor,
                   .a = call->in[0]->data,
                   .b = call->inputs > 1 ? call->in[1]->data : NULL};
}

static void forward(const OpCall *call, const Run *run) {
    const Pointwise *attributes = call->attributes;
    Block whole = block_of(call);
    whole.y = call->out[0]->data;
    const int64_t n = tensor_size(call->out[0]);
#pragma omp parallel for num_threads(run->threads) schedule(static)
    for (int64_t from = 0; from < n; from += BLOCK) {
        Block block = whole;
        block.from = from;
        block.to = n - from < BLOCK ? n : from + BLOCK;
        forward_block(&block, attributes->activation);
    }
}

static void backward(const OpCall *call, const Run *run) {
    const Pointwise *attributes = call->attributes;
    Block whole = block_of(call);
    whole.slope = call->out[0]->gradient;
    whole.into_a = gradient_target(call, 0);
    whole.into_b = gradient_target(call, 1);
    if (!whole.into_a.data && !whole.into_b.data) return;
    const int64_t n = tensor_size(call->out[0]);
#pragma omp parallel for num_threads(run->threads) schedule(static)
    for (int64_t from = 0; from < n; from += BLOCK) {
        Block block = whole;
        block.from = from;
        block.to = n - from < BLOCK ? n : from + BLOCK;
        backward_block(&block, attributes->activation);
    }
}

const OpKernels ISA(pointwise_cpu) = {forward, backward};
