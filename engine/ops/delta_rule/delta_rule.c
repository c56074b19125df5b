#include "engine/ops/delta_rule/delta_rule.h"

#include "engine/gemm.h"
#include "engine/ops/delta_rule/delta_rule_plan.h"

static void require(Tape *tape, const OpCall *call, int input, Shape shape, const char *text) {
    const Tensor *tensor = call->in[input];
    if (tensor && !shape_equal(&tensor->shape, &shape)) tape_fail(tape, call, "%s", text);
}

static void shape(Tape *tape, OpCall *call) {
    const DeltaRule *a = call->attributes;
    const Tensor *k = call->in[DELTA_K], *v = call->in[DELTA_V];
    if (a->heads < 1 || k->shape.rank != 3 || v->shape.rank != 3 || extent(k, 2) % a->heads ||
        extent(v, 2) % a->heads) {
        tape_fail(tape, call, "keys (B, L, %ld) and values (.., %ld) must be divided by %ld heads",
                  (long)extent(k, -1), (long)extent(v, -1), (long)a->heads);
        return;
    }
    const DeltaPlan p = delta_rule_plan(call);
    require(tape, call, DELTA_Q, k->shape, "queries must be (B, L, H d) like the keys");
    require(tape, call, DELTA_V, SHAPE(p.B, p.L, p.H * p.m), "values must be (B, L, H m)");
    require(tape, call, DELTA_BETA, SHAPE(p.B, p.L, p.H), "betas must be (B, L, H)");
    require(tape, call, DELTA_DECAY, SHAPE(p.B, p.L, p.H), "decays must be (B, L, H)");
    require(tape, call, DELTA_STATE, SHAPE(p.B, p.H, p.state), "the state must be (B, H, d m)");
    tape_output(tape, call, TENSOR_FLOAT, v->shape);
    if (call->in[DELTA_STATE]) tape_output(tape, call, TENSOR_FLOAT, SHAPE(p.B, p.H, p.state));
    if (!call->in[DELTA_STATE] || !call->in[DELTA_DECAY]) call->needs_outputs = 0;
    if (tape_mode(tape) == TAPE_TRAIN)
        tape_saved(tape, call, TENSOR_FLOAT, SHAPE(p.B, p.H, p.chunks, p.state));
}

/* Pairs of a token and an earlier one of its own chunk, of one head. */
static double pairs_of(const DeltaPlan *plan) {
    const double whole = (double)(plan->L / DELTA_CHUNK), rest = (double)(plan->L % DELTA_CHUNK);
    return (whole * DELTA_CHUNK * (DELTA_CHUNK - 1) + rest * (rest - 1)) / 2;
}

/* Forward: two triangles of products and what they are multiplied by, the state read under q and k
 * and written. Backward: most of that again, and two products a gradient. */
static void cost(const OpCall *call, Cost *forward, Cost *backward) {
    const DeltaPlan p = delta_rule_plan(call);
    const double heads = (double)(p.B * p.H), d = (double)p.d, m = (double)p.m;
    const double tokens = heads * (double)p.L, pairs = heads * pairs_of(&p);
    const double decays = call->in[DELTA_DECAY] ? 1 : 0,
                 exponentials = decays * (pairs + 3 * tokens);
    const double inputs = tokens * (2 * d + m + 1 + decays);
    const double notes = heads * (double)(p.chunks * p.state);
    *forward = (Cost){.flops = 4 * pairs * (d + m) + 6 * tokens * d * m + tokens * (4 * d + 4 * m) +
                               2 * exponentials,
                      .specials = exponentials,
                      .bytes_read = 4 * inputs,
                      .bytes_written = 4 * (tokens * m + notes)};
    *backward = (Cost){.flops = pairs * (12 * d + 10 * m) + 14 * tokens * d * m +
                                tokens * (8 * d + 8 * m) + 4 * exponentials,
                       .specials = exponentials,
                       .bytes_read = 4 * (inputs + tokens * m + notes),
                       .bytes_written = 4 * inputs};
}

/* What a thread lays out (Head in delta_rule_simd.h); every part begins at 64 bytes. */
size_t delta_rule_scratch(const OpCall *call, Phase phase) {
    enum { PARTS = 17, ALIGNMENT = 16, ROWS_OF_DECAYS = 5 };
    const DeltaPlan p = delta_rule_plan(call);
    const int64_t C = DELTA_CHUNK, widest = p.d > p.m ? p.d : p.m, most = widest > C ? widest : C;
    int64_t floats = (ROWS_OF_DECAYS + 1) * C + 2 * C * (p.d + p.m + C) + p.state;
    if (phase == PHASE_BACKWARD) floats += 3 * C * p.d + 2 * C * p.m + 3 * C * C + p.state;
    const size_t bytes = (size_t)(floats + PARTS * ALIGNMENT) * sizeof(float) +
                         gemm_workspace(GEMM_NT, most, most, most, 1);
    return (bytes + 63) / 64 * 64;
}

static size_t scratch(const OpCall *call, int threads, Phase phase) {
    return (size_t)threads * delta_rule_scratch(call, phase);
}

#define NORMAL(...)                                                                                \
    { SHAPE(__VA_ARGS__), FILL_NORMAL, 1, 0 }
#define UNIFORM(low, high, ...)                                                                    \
    { SHAPE(__VA_ARGS__), FILL_UNIFORM, low, high }
#define INPUTS(B, L, H, d, m)                                                                      \
    NORMAL(B, L, (H) * (d)), NORMAL(B, L, (H) * (d)), NORMAL(B, L, (H) * (m)),                     \
        UNIFORM(0, 1, B, L, H)
#define DECAYS(B, L, H) UNIFORM(-0.5, 0, B, L, H)
/* Keys of length around one half, for the rule to be steady with the longest of them. */
#define HEADS(H, k_scale)                                                                          \
    .attributes = &(const DeltaRule) {                                                             \
        H, 0.5, k_scale                                                                            \
    }
/* Results of longer rows chain four products (the state under k, the triangular system, the next
 * state, results), twice as many as allowed for where products round their inputs. */
#define CHAINED .tolerance = 2e-5

static const OpCase cases[] = {
    {"B1L1H1D1M1", .in = {INPUTS(1, 1, 1, 1, 1)}, HEADS(1, 0.5)},
    {"B2L7H2D3M5", .in = {INPUTS(2, 7, 2, 3, 5)}, HEADS(2, 0.5)},
    {"B1L67H1D5M3", .in = {INPUTS(1, 67, 1, 5, 3)}, HEADS(1, 0.3)},
    {"B2L150H3D16M18", .in = {INPUTS(2, 150, 3, 16, 18)}, HEADS(3, 0.2), CHAINED},
    {"B1L128H2D33M70", .in = {INPUTS(1, 128, 2, 33, 70)}, HEADS(2, 0.12), CHAINED},
    {"B1L70H1D70M33", .in = {INPUTS(1, 70, 1, 70, 33), DECAYS(1, 70, 1)}, HEADS(1, 0.08)},
    {"decay-B2L9H2D5M7", .in = {INPUTS(2, 9, 2, 5, 7), DECAYS(2, 9, 2)}, HEADS(2, 0.3)},
    {"decay-B2L131-state", .in = {INPUTS(2, 131, 2, 5, 7), DECAYS(2, 131, 2), NORMAL(2, 2, 35)},
     HEADS(2, 0.3), CHAINED, .seeds = 3u},
    {"state-B1L65H2D3M4", .in = {INPUTS(1, 65, 2, 3, 4), {0}, NORMAL(1, 2, 12)}, HEADS(2, 0.4),
     CHAINED, .seeds = 3u},
    /* Decays that leave nothing: exp(b) underflows within a chunk. */
    {"decay-strong", .in = {INPUTS(1, 70, 2, 5, 7), UNIFORM(-12, 0, 1, 70, 2)}, HEADS(2, 0.3)},
    /* Tokens that write nothing. */
    {"beta0", .in = {NORMAL(1, 70, 5), NORMAL(1, 70, 5), NORMAL(1, 70, 7), UNIFORM(0, 0, 1, 70, 1)},
     HEADS(1, 0.3)},
    /* Eigenvalues down to -1: betas up to 2. */
    {"beta2",
     .in = {NORMAL(1, 90, 10), NORMAL(1, 90, 10), NORMAL(1, 90, 14), UNIFORM(0, 2, 1, 90, 2)},
     HEADS(2, 0.3), CHAINED},
    {"step-B2H2D5M7", .in = {INPUTS(2, 1, 2, 5, 7), DECAYS(2, 1, 2), NORMAL(2, 2, 35)},
     HEADS(2, 0.3), .gradient_free = true},
    {"step-plain", .in = {INPUTS(1, 1, 3, 20, 18), {0}, NORMAL(1, 3, 360)}, HEADS(3, 0.2),
     .gradient_free = true},
    {"B8L256H4D32M32", .in = {INPUTS(8, 256, 4, 32, 32)}, HEADS(4, 0.12), CHAINED,
     .benchmark = true},
    {"B1L1024H4D64M64", .in = {INPUTS(1, 1024, 4, 64, 64), DECAYS(1, 1024, 4)}, HEADS(4, 0.09),
     CHAINED, .benchmark = true},
    {"B8L2048H16D128M128", .in = {INPUTS(8, 2048, 16, 128, 128), DECAYS(8, 2048, 16)},
     HEADS(16, 0.06), .gpu = true},
};

OP_CPU_DECLARE(delta_rule);

const Op op_delta_rule = {
    .name = "delta_rule",
    .summary = "w = v - a S^T k; S = a S + k (beta w)^T; o = S^T q",
    .inputs = DELTA_INPUTS,
    .outputs = 2,
    .attribute_bytes = sizeof(DeltaRule),
    .needs_inputs = (1u << DELTA_INPUTS) - 1u - (1u << DELTA_STATE),
    .needs_outputs = 2u,
    .gradients = (1u << DELTA_INPUTS) - 1u,
    .multiplies = true,
    .shape = shape,
    .cost = cost,
    .scratch = scratch,
    .cpu = OP_CPU(delta_rule),
    .reference = delta_rule_reference,
    OP_CASES(cases),
};

Tensor *delta_rule(Tape *tape, const DeltaRuleInputs *inputs, const DeltaRule *attributes,
                   Tensor **next) {
    Tensor *in[DELTA_INPUTS] = {inputs->q,    inputs->k,         inputs->v,
                                inputs->beta, inputs->log_decay, inputs->state};
    const OpCall *call = tape_apply(tape, &op_delta_rule, in, DELTA_INPUTS, attributes);
    if (next) *next = inputs->state ? call->out[1] : NULL;
    return call->out[0];
}
