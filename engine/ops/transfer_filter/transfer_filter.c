#include "engine/ops/transfer_filter/transfer_filter.h"

#include <math.h>

#include "engine/ops/transfer_filter/transfer_filter_plan.h"

OP_CPU_DECLARE(transfer_filter);
void transfer_filter_reference(const ReferenceCall *call);

static void shape(Tape *tape, OpCall *call) {
    const TransferFilter *attributes = call->attributes;
    const Tensor *a = call->in[0], *b = call->in[1];
    const int64_t period = attributes->period;
    if (a->shape.rank != 2 || !shape_equal(&a->shape, &b->shape)) {
        tape_fail(tape, call, "expected a and b (N, D), both of one shape");
        return;
    }
    if (period < TRANSFER_LEAST || (period & (period - 1)) || period <= extent(a, 0)) {
        tape_fail(tape, call, "the period must be a power of two from %d on and above N, not %lld",
                  TRANSFER_LEAST, (long long)period);
        return;
    }
    if (attributes->length < 1 || attributes->length > period) {
        tape_fail(tape, call, "the filter's length must be 1 .. period, not %lld",
                  (long long)attributes->length);
        return;
    }
    tape_output(tape, call, TENSOR_FLOAT, SHAPE(attributes->length, extent(a, 1)));
}

/* Both polynomials are one complex transform, the filter another; backward has a third. Some 20
 * operations for each of P / 2 quotients, 40 backward. */
static void cost(const OpCall *call, Cost *forward, Cost *backward) {
    const TransferFilter *attributes = call->attributes;
    const double N = (double)extent(call->in[0], 0), D = (double)extent(call->in[0], 1);
    const double P = (double)attributes->period, L = (double)attributes->length;
    const double transform = 5 * P * log2(P);
    *forward = (Cost){.flops = D * (2 * transform + 10 * P),
                      .specials = D * P / 2,
                      .bytes_read = 8 * N * D,
                      .bytes_written = 4 * L * D};
    *backward = (Cost){.flops = D * (3 * transform + 20 * P),
                       .specials = D * P / 2,
                       .bytes_read = 8 * N * D + 4 * L * D,
                       .bytes_written = 8 * N * D};
}

static size_t scratch(const OpCall *call, int threads, Phase phase) {
    const TransferPlan plan = transfer_plan(call);
    return sizeof(float) *
           (size_t)(transfer_factor_floats(&plan) + threads * transfer_thread_floats(&plan, phase));
}

Tensor *transfer_filter(Tape *tape, Tensor *a, Tensor *b, TransferFilter attributes) {
    Tensor *in[] = {a, b};
    return tape_apply(tape, &op_transfer_filter, in, 2, &attributes)->out[0];
}

/* |a_n| < 0.9 / N keeps the denominator above 0.1, as trained ones are where a filter is of use;
 * nearer to zero float32 cannot tell what the quotient is. */
#define ROW(label, N, D, P, L)                                                                     \
    .name = label,                                                                                 \
    .in = {{SHAPE(N, D), FILL_UNIFORM, -0.9 / (N), 0.9 / (N)}, {SHAPE(N, D), FILL_NORMAL, 1, 0}},  \
    .attributes = &(const TransferFilter) {                                                        \
        P, L                                                                                       \
    }

static const OpCase cases[] = {
    {ROW("N1D1L3", 1, 1, 128, 3)},
    {ROW("N5D3L101", 5, 3, 128, 101)},
    {ROW("N127D17L128", 127, 17, 128, 128)},
    {ROW("N7D37L251of256", 7, 37, 256, 251)},
    {ROW("N64D8L1024", 64, 8, 1024, 1024), .benchmark = true},
};

const Op op_transfer_filter = {
    .name = "transfer_filter",
    .summary = "h of the transfer function b(w) / (1 + a(w)), wrapped around P taps",
    .inputs = 2,
    .outputs = 1,
    .attribute_bytes = sizeof(TransferFilter),
    .needs_inputs = 3,
    .gradients = 3,
    .shape = shape,
    .cost = cost,
    .scratch = scratch,
    .cpu = OP_CPU(transfer_filter),
    .reference = transfer_filter_reference,
    OP_CASES(cases),
};
