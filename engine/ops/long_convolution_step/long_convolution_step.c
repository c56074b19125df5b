#include "engine/ops/long_convolution_step/long_convolution_step.h"

OP_CPU_DECLARE(long_convolution_step);
void long_convolution_step_reference(const ReferenceCall *call);

static void shape(Tape *tape, OpCall *call) {
    const Tensor *cache = call->in[0], *filter = call->in[1], *skip = call->in[2];
    if (cache->shape.rank != 3 || filter->shape.rank != 2 ||
        extent(filter, 1) != extent(cache, 2) || extent(filter, 0) > extent(cache, 1) ||
        tensor_size(skip) != extent(cache, 2) || call->in[3]->type != TENSOR_INTEGER) {
        tape_fail(tape, call,
                  "expected cache (B, R, D), filter (K, D) with K <= R, skip (D) and a position");
        return;
    }
    tape_output(tape, call, TENSOR_FLOAT, SHAPE(extent(cache, 0), 1, extent(cache, 2)));
}

/* At the longest position; a mean over a whole sequence is half of it. */
static void cost(const OpCall *call, Cost *forward, Cost *backward) {
    const double n = (double)tensor_size(call->in[0]);
    *forward = (Cost){.flops = 2 * n, .bytes_read = 8 * n};
    *backward = (Cost){0};
}

Tensor *long_convolution_step(Tape *tape, Tensor *cache, Tensor *filter, Tensor *skip,
                              Tensor *position) {
    Tensor *in[] = {cache, filter, skip, position};
    return tape_apply(tape, &op_long_convolution_step, in, 4, NULL)->out[0];
}

#define NORMAL(...)                                                                                \
    { .shape = SHAPE(__VA_ARGS__), .fill = FILL_NORMAL, .a = 1 }
#define POSITION(t)                                                                                \
    { .shape = SHAPE(1), .fill = FILL_COUNT, .a = t }
#define ROW(name_, B, L, K, D, t)                                                                  \
    {                                                                                              \
        .name = name_, .in = {NORMAL(B, L, D), NORMAL(K, D), NORMAL(D), POSITION(t)},              \
        .gradient_free = true                                                                      \
    }

static const OpCase cases[] = {
    ROW("L1D1", 1, 1, 1, 1, 0),
    ROW("L11D13", 3, 11, 11, 13, 6),
    ROW("short_filter", 2, 37, 5, 67, 36),
    ROW("ring_L9", 2, 9, 9, 37, 30),
    ROW("ring_L11K5", 2, 11, 5, 3, 24),
    ROW("L512D64", 2, 512, 512, 64, 511),
};

const Op op_long_convolution_step = {
    .name = "long_convolution_step",
    .summary = "y = sum_s filter[position - s] cache[s] + skip cache[position]",
    .inputs = 4,
    .outputs = 1,
    .shape = shape,
    .cost = cost,
    .cpu = OP_CPU(long_convolution_step),
    .reference = long_convolution_step_reference,
    OP_CASES(cases),
};
