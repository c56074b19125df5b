#include "engine/ops/wkv/wkv.h"

#include "engine/ops/wkv/wkv_plan.h"

static void shape(Tape *tape, OpCall *call) {
    const Tensor *k = call->in[WKV_K], *state = call->in[WKV_STATE];
    if (k->shape.rank != 3 || !shape_equal(&k->shape, &call->in[WKV_V]->shape) ||
        tensor_size(call->in[WKV_DECAY]) != extent(k, 2) ||
        tensor_size(call->in[WKV_U]) != extent(k, 2)) {
        tape_fail(tape, call, "expected k and v (B, L, D), decay and u (D)");
        return;
    }
    const WkvPlan plan = wkv_plan(call);
    const Shape before = SHAPE(plan.B, WKV_PARTS, plan.D);
    if (state && (!shape_equal(&state->shape, &before) || tape_mode(tape) == TAPE_TRAIN))
        tape_fail(tape, call, "a state must be (B, 3, D), outside of training");
    tape_output(tape, call, TENSOR_FLOAT, k->shape);
    if (state) tape_output(tape, call, TENSOR_FLOAT, before);
    if (tape_mode(tape) == TAPE_TRAIN)
        tape_saved(tape, call, TENSOR_FLOAT, SHAPE(plan.B, plan.chunks, WKV_PARTS, plan.D));
}

/* Of two exponentials whose larger one is 1 the other is a special function: one for the result and
 * one for the state, and a quotient. Backward: these again, and three for the adjoint. */
static void cost(const OpCall *call, Cost *forward, Cost *backward) {
    const double n = (double)tensor_size(call->in[WKV_K]);
    const double notes = 3.0 / WKV_ROWS * n;
    *forward = (Cost){
        .flops = 15 * n, .specials = 3 * n, .bytes_read = 8 * n, .bytes_written = 4 * (n + notes)};
    *backward = (Cost){.flops = 42 * n,
                       .specials = 6 * n,
                       .bytes_read = 4 * (4 * n + notes),
                       .bytes_written = 8 * n};
}

/* The gradients of decay and u, of each sequence. */
static size_t scratch(const OpCall *call, int threads, Phase phase) {
    (void)threads;
    const WkvPlan plan = wkv_plan(call);
    return phase == PHASE_BACKWARD ? (size_t)(2 * plan.B * plan.D) * sizeof(float) : 0;
}

#define NORMAL(...)                                                                                \
    { .shape = SHAPE(__VA_ARGS__), .fill = FILL_NORMAL, .a = 1 }
#define BETWEEN(from, to, ...)                                                                     \
    { .shape = SHAPE(__VA_ARGS__), .fill = FILL_UNIFORM, .a = (from), .b = (to) }
/* Decays as they begin: half-lives of 100 tokens to a twentieth of one. */
#define INPUTS(B, L, D) NORMAL(B, L, D), NORMAL(B, L, D), BETWEEN(-5, 3, D), NORMAL(D)

static const OpCase cases[] = {
    {"B1L1D1", .in = {INPUTS(1, 1, 1)}},
    {"B2L9D3", .in = {INPUTS(2, 9, 3)}},
    {"B3L37D17", .in = {INPUTS(3, 37, 17)}},
    {"B2L64D70", .in = {INPUTS(2, 64, 70)}},
    {"B1L131D130", .in = {INPUTS(1, 131, 130)}},
    {"step-D19", .in = {INPUTS(2, 1, 19), BETWEEN(1, 3, 2, 3, 19)}, .gradient_free = true},
    {"carried-L40", .in = {INPUTS(2, 40, 5), BETWEEN(1, 3, 2, 3, 5)}, .gradient_free = true},
    /* No exponential of these keys is a float; hardly any weight is left to most tokens. */
    {"large-keys",
     .in = {BETWEEN(-200, 200, 2, 33, 5), NORMAL(2, 33, 5), BETWEEN(-5, 3, 5), NORMAL(5)}},
    {"L128-D256", .in = {INPUTS(2, 128, 256)}, .benchmark = true},
    {"L1024-D512", .in = {INPUTS(2, 1024, 512)}, .benchmark = true},
    {"B8L2048D1024", .in = {INPUTS(8, 2048, 1024)}, .gpu = true},
};

OP_CPU_DECLARE(wkv);
void wkv_reference(const ReferenceCall *call);

const Op op_wkv = {
    .name = "wkv",
    .summary = "y = (P + e^(u + k) v) / (Q + e^(u + k)); P = e^w P + e^k v, Q = e^w Q + e^k",
    .inputs = WKV_INPUTS,
    .outputs = 2,
    .needs_inputs = (1u << WKV_STATE) - 1u,
    .needs_outputs = 1u,
    .gradients = (1u << WKV_STATE) - 1u,
    .shape = shape,
    .cost = cost,
    .scratch = scratch,
    .cpu = OP_CPU(wkv),
    .reference = wkv_reference,
    OP_CASES(cases),
};

Tensor *wkv(Tape *tape, Tensor *k, Tensor *v, Tensor *decay, Tensor *u, Tensor *state,
            Tensor **next) {
    Tensor *in[WKV_INPUTS] = {k, v, decay, u, state};
    const OpCall *call = tape_apply(tape, &op_wkv, in, WKV_INPUTS, NULL);
    if (next) *next = state ? call->out[1] : NULL;
    return call->out[0];
}
