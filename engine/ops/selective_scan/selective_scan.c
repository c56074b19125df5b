#include "engine/ops/selective_scan/selective_scan.h"

#include "engine/ops/selective_scan/selective_scan_plan.h"

static void require(Tape *tape, const OpCall *call, int input, Shape shape, const char *name,
                    const char *text) {
    const Tensor *tensor = call->in[input];
    if (tensor && !shape_equal(&tensor->shape, &shape))
        tape_fail(tape, call, "%s must be %s", name, text);
}

static void shape(Tape *tape, OpCall *call) {
    const Tensor *u = call->in[SCAN_U], *A_log = call->in[SCAN_A_LOG];
    if (u->shape.rank != 3 || A_log->shape.rank != 2 || extent(A_log, 0) != extent(u, 2)) {
        tape_fail(tape, call, "u must be (B, L, E) and A_log (E, N) with the same E");
        return;
    }
    const int64_t B = extent(u, 0), L = extent(u, 1), E = extent(u, 2), N = extent(A_log, 1);
    require(tape, call, SCAN_RAW, u->shape, "the raw step size", "(B, L, E) like u");
    require(tape, call, SCAN_B, SHAPE(B, L, N), "B", "(B, L, N)");
    require(tape, call, SCAN_C, SHAPE(B, L, N), "C", "(B, L, N)");
    require(tape, call, SCAN_D, SHAPE(E), "D", "(E)");
    require(tape, call, SCAN_BIAS, SHAPE(E), "the step size's bias", "(E)");
    require(tape, call, SCAN_Z, u->shape, "the gate", "(B, L, E) like u");
    require(tape, call, SCAN_STATE, SHAPE(B, E, N), "the state", "(B, E, N)");
    tape_output(tape, call, TENSOR_FLOAT, u->shape);
    if (call->in[SCAN_STATE]) tape_output(tape, call, TENSOR_FLOAT, SHAPE(B, E, N));
    if (tape_mode(tape) != TAPE_TRAIN) return;
    const Plan plan = selective_scan_plan(call);
    tape_saved(tape, call, TENSOR_FLOAT, SHAPE(B, plan.chunks, plan.padded, N));
    if (call->in[SCAN_Z]) tape_saved(tape, call, TENSOR_FLOAT, u->shape);
}

static void cost(const OpCall *call, Cost *forward, Cost *backward) {
    const double elements = (double)tensor_size(call->in[SCAN_U]);
    const double N = (double)extent(call->in[SCAN_A_LOG], 1);
    const double gate = call->in[SCAN_Z] ? elements : 0;
    const double rows = (double)tensor_size(call->in[SCAN_B]);
    /* A state's step: delta A, decay and input (3), output (2); softplus is exp and log. */
    *forward = (Cost){.flops = elements * (6 * N + 4) + 2 * gate,
                      .specials = elements * (N + 2) + 2 * gate,
                      .bytes_read = 4 * (2 * elements + gate + 2 * rows),
                      .bytes_written = 4 * elements};
    /* The states again, then per state: adjoint (3), u, delta, A, B and C (2 or 3 each). */
    *backward = (Cost){.flops = elements * (18 * N + 12) + 6 * gate,
                       .specials = elements * (N + 3) + 2 * gate,
                       .bytes_read = 4 * (3 * elements + 2 * gate + 2 * rows),
                       .bytes_written = 4 * (2 * elements + gate + 2 * rows)};
}

static size_t scratch(const OpCall *call, int threads, Phase phase) {
    const Plan plan = selective_scan_plan(call);
    int64_t floats = plan.state; /* the packed A */
    if (phase == PHASE_FORWARD)
        floats += threads * SCAN_CHANNELS * plan.N;
    else
        floats += plan.B * (plan.state + plan.channel) + plan.units * plan.stretch * plan.partial;
    return (size_t)floats * sizeof(float);
}

#define NORMAL(...)                                                                                \
    { .shape = SHAPE(__VA_ARGS__), .fill = FILL_NORMAL, .a = 1 }
#define BETWEEN(from, to, ...)                                                                     \
    { .shape = SHAPE(__VA_ARGS__), .fill = FILL_UNIFORM, .a = (from), .b = (to) }
/* A from -1 to -16 and step sizes from 0.02 to 1, as in a Mamba layer while it trains. */
#define INPUTS(B, L, E, N)                                                                         \
    NORMAL(B, L, E), NORMAL(B, L, E), BETWEEN(0, 2.8, E, N), NORMAL(B, L, N), NORMAL(B, L, N),     \
        NORMAL(E), BETWEEN(-4, -1, E)
static const OpCase cases[] = {
    {"B1L1E1N1", .in = {INPUTS(1, 1, 1, 1)}},
    {"B2L5E2N2", .in = {INPUTS(2, 5, 2, 2), NORMAL(2, 5, 2)}},
    {"B2L37E17N3", .in = {INPUTS(2, 37, 17, 3), NORMAL(2, 37, 17)}},
    {"B3L33E71N5", .in = {INPUTS(3, 33, 71, 5)}},
    {"B1L67E130N16", .in = {INPUTS(1, 67, 130, 16), NORMAL(1, 67, 130)}},
    {"B70L17E5N2", .in = {INPUTS(70, 17, 5, 2), NORMAL(70, 17, 5)}},
    {"B1L40E45N16", .in = {INPUTS(1, 40, 45, 16), NORMAL(1, 40, 45)}},
    {"B1L19E26N40", .in = {INPUTS(1, 19, 26, 40), NORMAL(1, 19, 26), NORMAL(1, 26, 40)}},
    /* Long enough for a GPU to cut it into segments; more states than it takes at a time. */
    {"B2L333E11N5", .in = {INPUTS(2, 333, 11, 5), NORMAL(2, 333, 11), NORMAL(2, 11, 5)},
     .seeds = 3u},
    {"B2L130E12N8", .in = {INPUTS(2, 130, 12, 8), NORMAL(2, 130, 12), NORMAL(2, 12, 8)}},
    {"B1L150E9N21", .in = {INPUTS(1, 150, 9, 21), NORMAL(1, 150, 9)}},
    {"B1L130E50N16", .in = {INPUTS(1, 130, 50, 16), NORMAL(1, 130, 50), NORMAL(1, 50, 16)},
     .seeds = 3u},
    {"B2L37E64N16", .in = {INPUTS(2, 37, 64, 16), {0}, NORMAL(2, 64, 16)}},
    {"carried-L1", .in = {INPUTS(2, 1, 19, 4), NORMAL(2, 1, 19), NORMAL(2, 19, 4)}},
    {"carried-L20", .in = {INPUTS(2, 20, 19, 4), {0}, NORMAL(2, 19, 4)}},
    /* Step sizes in the linear part of softplus; the states forget at once. */
    {"large-steps",
     .in = {NORMAL(2, 9, 5), BETWEEN(18, 30, 2, 9, 5), BETWEEN(-8, 0, 5, 3), NORMAL(2, 9, 3),
            NORMAL(2, 9, 3), NORMAL(5), BETWEEN(-1, 1, 5), NORMAL(2, 9, 5)}},
    {"L2-E256", .in = {INPUTS(1, 128, 256, 16), NORMAL(1, 128, 256)}, .benchmark = true},
    {"mamba-d128", .in = {INPUTS(1, 1024, 256, 16), NORMAL(1, 1024, 256)}, .benchmark = true},
    {"mamba-d64", .in = {INPUTS(8, 64, 128, 16), NORMAL(8, 64, 128)}, .benchmark = true},
    {"B8L2048E2048N16", .in = {INPUTS(8, 2048, 2048, 16), NORMAL(8, 2048, 2048)}, .gpu = true},
};

OP_CPU_DECLARE(selective_scan);
void selective_scan_reference(const ReferenceCall *call);

const Op op_selective_scan = {
    .name = "selective_scan",
    .summary =
        "s = exp(delta A) s + delta u B; y = (C s + D u) silu(z); delta = softplus(raw + bias)",
    .inputs = SCAN_INPUTS,
    .outputs = 2,
    .needs_inputs = (1u << SCAN_INPUTS) - 1u - (1u << SCAN_STATE),
    .gradients = (1u << SCAN_INPUTS) - 1u,
    .shape = shape,
    .cost = cost,
    .scratch = scratch,
    .cpu = OP_CPU(selective_scan),
    .reference = selective_scan_reference,
    OP_CASES(cases),
};

Tensor *selective_scan(Tape *tape, const SelectiveScan *inputs, Tensor **next) {
    Tensor *in[SCAN_INPUTS] = {
        [SCAN_U] = inputs->u,       [SCAN_RAW] = inputs->raw, [SCAN_A_LOG] = inputs->A_log,
        [SCAN_B] = inputs->B,       [SCAN_C] = inputs->C,     [SCAN_D] = inputs->D,
        [SCAN_BIAS] = inputs->bias, [SCAN_Z] = inputs->z,     [SCAN_STATE] = inputs->state};
    const OpCall *call = tape_apply(tape, &op_selective_scan, in, SCAN_INPUTS, NULL);
    if (next) *next = inputs->state ? call->out[1] : NULL;
    return call->out[0];
}
