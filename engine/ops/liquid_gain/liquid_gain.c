#include "engine/ops/liquid_gain/liquid_gain.h"

static bool has_shape(const OpCall *call, int i, Shape shape) {
    return shape_equal(&call->in[i]->shape, &shape);
}

static void shape(Tape *tape, OpCall *call) {
    const LiquidGain *attributes = call->attributes;
    const int64_t S = extent(call->in[LIQUID_A_REAL], 0), M = extent(call->in[LIQUID_A_REAL], 1);
    const int64_t D = extent(call->in[LIQUID_LOG_DT], 0);
    if (!has_shape(call, LIQUID_LOG_DT, SHAPE(D)) || !has_shape(call, LIQUID_A_IMAG, SHAPE(S, M)) ||
        !has_shape(call, LIQUID_B, SHAPE(S, M, 2)) || !has_shape(call, LIQUID_C, SHAPE(D, M, 2)) ||
        S > D)
        tape_fail(tape, call,
                  "with A_real (%lld, %lld) expected log_dt (D), D >= S, A_imag (S, M), B (S, M, "
                  "2), C (D, M, 2)",
                  (long long)S, (long long)M);
    if (attributes->degree < 2 || attributes->degree > 8)
        tape_fail(tape, call, "the degree must be 2 .. 8, not %d", attributes->degree);
    tape_output(tape, call, TENSOR_FLOAT, SHAPE(D));
}

static void cost(const OpCall *call, Cost *forward, Cost *backward) {
    const double DM = (double)tensor_size(call->in[LIQUID_C]) / 2,
                 D = (double)extent(call->in[LIQUID_LOG_DT], 0);
    *forward = (Cost){
        .flops = 20 * DM, .specials = 2 * DM + D, .bytes_read = 24 * DM, .bytes_written = 4 * D};
    *backward = (Cost){
        .flops = 60 * DM, .specials = 2 * DM + D, .bytes_read = 24 * DM, .bytes_written = 24 * DM};
}

/* CPU: of one thread, gradients of a set's modes; powers of the sums. */
static size_t scratch(const OpCall *call, int threads, Phase phase) {
    const int64_t M = extent(call->in[LIQUID_A_REAL], 1);
    return phase == PHASE_FORWARD ? 0 : (size_t)(threads * M * 4) * sizeof(double);
}

#define STATES(D, S, M)                                                                            \
    {SHAPE(D), FILL_UNIFORM, -3, -1}, {SHAPE(S, M), FILL_UNIFORM, -1, 0},                          \
        {SHAPE(S, M), FILL_UNIFORM, 0, 10}, {SHAPE(S, M, 2), FILL_NORMAL, 1, 1}, {                 \
        SHAPE(D, M, 2), FILL_NORMAL, 1, 0                                                          \
    }

static const OpCase cases[] = {
    {.name = "D1M1", .in = {STATES(1, 1, 1)}, .attributes = &(LiquidGain){2}},
    {.name = "D5S2M3degree3", .in = {STATES(5, 2, 3)}, .attributes = &(LiquidGain){3}},
    {.name = "D17M9degree4", .in = {STATES(17, 17, 9)}, .attributes = &(LiquidGain){4}},
    {.name = "D64M32",
     .in = {STATES(64, 64, 32)},
     .attributes = &(LiquidGain){2},
     .benchmark = true},
};

OP_CPU_DECLARE(liquid_gain);

const Op op_liquid_gain = {
    .name = "liquid_gain",
    .summary = "(sum C b) (sum b)^(2^(p-1) - 1), b = dt B / (1 - dt lambda / 2)",
    .inputs = LIQUID_INPUTS,
    .outputs = 1,
    .attribute_bytes = sizeof(LiquidGain),
    .needs_inputs = (1u << LIQUID_INPUTS) - 1,
    .gradients = (1u << LIQUID_INPUTS) - 1,
    .shape = shape,
    .cost = cost,
    .scratch = scratch,
    .cpu = OP_CPU(liquid_gain),
    .reference = liquid_gain_reference,
    OP_CASES(cases),
};

Tensor *liquid_gain(Tape *tape, DplrParameters p, Tensor *C, int degree) {
    Tensor *const in[] = {p.log_dt, p.A_real, p.A_imag, p.B, C};
    return tape_apply(tape, &op_liquid_gain, in, LIQUID_INPUTS, &(LiquidGain){degree})->out[0];
}
