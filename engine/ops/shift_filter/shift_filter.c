#include "engine/ops/shift_filter/shift_filter.h"

OP_CPU_DECLARE(shift_filter);
void shift_filter_reference(const ReferenceCall *call);

static void shape(Tape *tape, OpCall *call) {
    const ShiftFilter *attributes = call->attributes;
    const Tensor *B = call->in[0], *C = call->in[1];
    if (B->shape.rank != 2 || !shape_equal(&B->shape, &C->shape) || attributes->taps < 1 ||
        attributes->taps > extent(B, 0)) {
        tape_fail(tape, call, "expected B and C (N, D) and 1 to N taps, not %lld",
                  (long long)attributes->taps);
        return;
    }
    tape_output(tape, call, TENSOR_FLOAT, SHAPE(attributes->taps, extent(B, 1)));
}

static void cost(const OpCall *call, Cost *forward, Cost *backward) {
    const ShiftFilter *attributes = call->attributes;
    const double N = (double)extent(call->in[0], 0), D = (double)extent(call->in[0], 1);
    const double K = (double)attributes->taps, products = D * (K * N - K * (K - 1) / 2);
    *forward = (Cost){.flops = 2 * products, .bytes_read = 8 * N * D, .bytes_written = 4 * K * D};
    *backward = (Cost){
        .flops = 4 * products, .bytes_read = 8 * N * D + 4 * K * D, .bytes_written = 8 * N * D};
}

Tensor *shift_filter(Tape *tape, Tensor *B, Tensor *C, int64_t taps) {
    Tensor *in[] = {B, C};
    return tape_apply(tape, &op_shift_filter, in, 2, &(ShiftFilter){taps})->out[0];
}

#define NORMAL(...)                                                                                \
    { .shape = SHAPE(__VA_ARGS__), .fill = FILL_NORMAL, .a = 1 }
#define ROW(label, N, D, K)                                                                        \
    .name = label, .in = {NORMAL(N, D), NORMAL(N, D)}, .attributes = &(const ShiftFilter) {        \
        K                                                                                          \
    }

static const OpCase cases[] = {
    {ROW("N1D1", 1, 1, 1)},
    {ROW("N5D3K2", 5, 3, 2)},
    {ROW("N8D17", 8, 17, 8)},
    {ROW("N67D37K61", 67, 37, 61)},
    {ROW("N64D128", 64, 128, 64), .benchmark = true},
    {ROW("N512D128", 512, 128, 512), .benchmark = true},
};

const Op op_shift_filter = {
    .name = "shift_filter",
    .summary = "s[j] = sum_m B[m] C[m + j], per channel",
    .inputs = 2,
    .outputs = 1,
    .attribute_bytes = sizeof(ShiftFilter),
    .needs_inputs = 3,
    .gradients = 3,
    .shape = shape,
    .cost = cost,
    .cpu = OP_CPU(shift_filter),
    .reference = shift_filter_reference,
    OP_CASES(cases),
};
