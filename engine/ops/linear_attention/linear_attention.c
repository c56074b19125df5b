#include "engine/ops/linear_attention/linear_attention.h"

#include "engine/gemm.h"
#include "engine/ops/linear_attention/linear_attention_plan.h"

static void require(Tape *tape, const OpCall *call, int input, Shape shape, const char *text) {
    const Tensor *tensor = call->in[input];
    if (tensor && !shape_equal(&tensor->shape, &shape)) tape_fail(tape, call, "%s", text);
}

static void shape(Tape *tape, OpCall *call) {
    const LinearAttention *a = call->attributes;
    const Tensor *q = call->in[LINEAR_Q];
    const bool packed = !call->in[LINEAR_K];
    if (a->heads < 1 || a->groups < 1 || a->heads % a->groups || a->key_width < 1 ||
        a->value_width < 1 || packed != !call->in[LINEAR_V]) {
        tape_fail(tape, call,
                  "%ld heads over %ld key heads: these must divide those, and keys and values come "
                  "both or packed behind the queries",
                  (long)a->heads, (long)a->groups);
        return;
    }
    const int64_t keys = a->groups * a->key_width, values = a->heads * a->value_width;
    const int64_t width = packed ? 2 * keys + values : keys;
    if (q->shape.rank != 3 || extent(q, 2) != width) {
        tape_fail(tape, call, "q is (.., %ld), expected (B, L, %ld)", (long)extent(q, -1),
                  (long)width);
        return;
    }
    if (!a->causal && (call->in[LINEAR_DECAY] || call->in[LINEAR_STATE] || call->in[LINEAR_GAIN] ||
                       call->in[LINEAR_SKIP])) {
        tape_fail(tape, call, "decays, gains, a skip and a state are for causal calls");
        return;
    }
    if (a->normalise && call->in[LINEAR_SKIP]) {
        tape_fail(tape, call, "a skip is for results without denominator");
        return;
    }
    if (a->causal && call->in[LINEAR_LENGTHS]) {
        tape_fail(tape, call, "a causal call never sees padding: leave the lengths out");
        return;
    }
    const LinearPlan plan = linear_attention_plan(call);
    const Tensor *lengths = call->in[LINEAR_LENGTHS];
    if (lengths && (lengths->type != TENSOR_INTEGER || tensor_size(lengths) != plan.B))
        tape_fail(tape, call, "lengths must be %ld integers, one a sequence", (long)plan.B);
    require(tape, call, LINEAR_K, SHAPE(plan.B, plan.L, keys), "keys must be (B, L, G d)");
    require(tape, call, LINEAR_V, SHAPE(plan.B, plan.L, values), "values must be (B, L, H m)");
    require(tape, call, LINEAR_DECAY, plan.constant ? SHAPE(plan.H) : SHAPE(plan.B, plan.L, plan.H),
            "decays must be (B, L, H) or (H)");
    require(tape, call, LINEAR_GAIN, SHAPE(plan.B, plan.L, plan.H), "gains must be (B, L, H)");
    require(tape, call, LINEAR_SKIP, SHAPE(plan.H), "the skip must be (H)");
    require(tape, call, LINEAR_STATE, SHAPE(plan.B, plan.H, plan.state),
            "the state must be (B, H, d m + d), or (B, H, d m) without normalise");
    tape_output(tape, call, TENSOR_FLOAT, SHAPE(plan.B, plan.L, values));
    if (call->in[LINEAR_STATE])
        tape_output(tape, call, TENSOR_FLOAT, SHAPE(plan.B, plan.H, plan.state));
    if (!a->normalise) call->needs_outputs &= ~1u;
    if (!call->in[LINEAR_STATE] || !call->in[LINEAR_DECAY]) call->needs_outputs &= ~2u;
    if (tape_mode(tape) != TAPE_TRAIN) return;
    tape_saved(tape, call, TENSOR_FLOAT, SHAPE(plan.B, plan.H, plan.notes, plan.state));
    if (a->normalise) tape_saved(tape, call, TENSOR_FLOAT, SHAPE(plan.B, plan.L, plan.H));
}

/* Pairs of a query and a key of its own chunk that it sees, of one head. */
static double pairs_of(const LinearPlan *plan, bool causal) {
    if (!causal) return 0;
    const double whole = (double)(plan->L / LINEAR_CHUNK), rest = (double)(plan->L % LINEAR_CHUNK);
    return (whole * LINEAR_CHUNK * (LINEAR_CHUNK + 1) + rest * (rest + 1)) / 2;
}

/* Forward: scores and their sums of values in a chunk, the state read and written. Backward: scores
 * again, and two products a gradient in each of the two parts. */
static void cost(const OpCall *call, Cost *forward, Cost *backward) {
    const LinearAttention *a = call->attributes;
    const LinearPlan plan = linear_attention_plan(call);
    const double heads = (double)(plan.B * plan.H), d = (double)plan.d, m = (double)plan.m;
    const double tokens = heads * (double)plan.L, pairs = heads * pairs_of(&plan, a->causal);
    const double decays = call->in[LINEAR_DECAY] ? pairs + 2 * tokens : 0;
    const double features = a->feature == FEATURE_ELU ? 2 * tokens * d : 0;
    const double norm = a->normalise ? tokens : 0;
    const double inputs = tokens * m + 2 * tokens * d * (double)plan.G / (double)plan.H;
    const double notes = heads * (double)(plan.notes * plan.state);
    *forward = (Cost){.flops = 2 * pairs * (d + m) + 4 * tokens * d * m + 3 * norm * d + decays,
                      .specials = features + decays + norm,
                      .bytes_read = 4 * inputs,
                      .bytes_written = 4 * (tokens * m + notes)};
    *backward = (Cost){.flops = pairs * (6 * d + 4 * m) + 8 * tokens * d * m +
                                norm * (5 * d + 3 * m) + 2 * decays,
                       .specials = features + decays + norm,
                       .bytes_read = 4 * (inputs + tokens * m * (a->normalise ? 2 : 1) + notes),
                       .bytes_written = 4 * inputs};
}

/* What a thread lays out (Head in linear_attention_simd.h); every part begins at 64 bytes. */
size_t linear_attention_scratch(const OpCall *call, Phase phase) {
    enum { PARTS = 16, ALIGNMENT = 16 };
    const LinearPlan plan = linear_attention_plan(call);
    const int64_t C = LINEAR_CHUNK, widest = plan.d > plan.m ? plan.d : plan.m;
    int64_t floats = 2 * C * plan.d + C * C + plan.state + 6 * C + PARTS * ALIGNMENT;
    if (phase == PHASE_BACKWARD) floats += 2 * C * plan.d + C * plan.m + 2 * C * C + plan.state + C;
    const int64_t most = widest > C ? widest : C;
    const size_t bytes =
        (size_t)floats * sizeof(float) + gemm_workspace(GEMM_NT, most, most, most, 1);
    return (bytes + 63) / 64 * 64;
}

static size_t scratch(const OpCall *call, int threads, Phase phase) {
    const LinearPlan plan = linear_attention_plan(call);
    const int64_t totals = phase == PHASE_BACKWARD ? 2 * plan.B * plan.H : 0;
    return (size_t)threads * linear_attention_scratch(call, phase) + (size_t)totals * sizeof(float);
}

#define NORMAL(...)                                                                                \
    { SHAPE(__VA_ARGS__), FILL_NORMAL, 1, 0 }
#define DECAY(...)                                                                                 \
    { SHAPE(__VA_ARGS__), FILL_UNIFORM, -0.5, 0 }
#define LENGTHS(B, L)                                                                              \
    { SHAPE(B), FILL_INTEGER, 0, (L) + 2 }
#define PACKED(H, d, m, causal)                                                                    \
    { H, H, d, m, FEATURE_ELU, 1, true, 1e-6, causal }
#define PLAIN(H, G, d, m, scale)                                                                   \
    { H, G, d, m, FEATURE_IDENTITY, scale, false, 0, true }

static const LinearAttention causal_h1d1m1 = PACKED(1, 1, 1, true);
static const LinearAttention causal_h2d3m5 = PACKED(2, 3, 5, true);
static const LinearAttention causal_h3d16m16 = PACKED(3, 16, 16, true);
static const LinearAttention causal_h2d32m32 = PACKED(2, 32, 32, true);
static const LinearAttention both_h2d3m5 = PACKED(2, 3, 5, false);
static const LinearAttention both_h2d20m18 = PACKED(2, 20, 18, false);
static const LinearAttention grouped = {6, 2, 5, 7, FEATURE_ELU, 1, true, 1e-6, true};
static const LinearAttention relu = {2, 2, 9, 4, FEATURE_RELU, 0.5, false, 0, true};
static const LinearAttention plain_h2g1d5m7 = PLAIN(2, 1, 5, 7, 0.25);
static const LinearAttention plain_h2g2d5m7 = PLAIN(2, 2, 5, 7, 1);
static const LinearAttention plain_h2g2d70m33 = PLAIN(2, 2, 70, 33, 0.125);
static const LinearAttention causal_h4d32m32 = PACKED(4, 32, 32, true);
static const LinearAttention causal_h4d64m64 = PACKED(4, 64, 64, true);
static const LinearAttention causal_h16d64m64 = PACKED(16, 64, 64, true);
static const LinearAttention both_h4d64m64 = PACKED(4, 64, 64, false);
static const LinearAttention mamba2 = PLAIN(8, 1, 128, 64, 1);

static const OpCase cases[] = {
    {"L1H1D1", .in = {NORMAL(1, 1, 3)}, .attributes = &causal_h1d1m1},
    {"B2L7H2D3M5", .in = {NORMAL(2, 7, 22)}, .attributes = &causal_h2d3m5},
    {"B1L67H2D3M5", .in = {NORMAL(1, 67, 22)}, .attributes = &causal_h2d3m5},
    {"B1L150H3D16", .in = {NORMAL(1, 150, 144)}, .attributes = &causal_h3d16m16},
    {"B2L40H2D32", .in = {NORMAL(2, 40, 192)}, .attributes = &causal_h2d32m32},
    {"both-B3L7", .in = {NORMAL(3, 7, 22)}, .attributes = &both_h2d3m5},
    {"both-B3L130-lengths", .in = {NORMAL(3, 130, 22), {0}, {0}, {0}, LENGTHS(3, 130)},
     .attributes = &both_h2d3m5},
    {"both-B2L70D20M18",
     .in = {NORMAL(2, 70, 40), NORMAL(2, 70, 40), NORMAL(2, 70, 36), {0}, LENGTHS(2, 70)},
     .attributes = &both_h2d20m18},
    {"grouped-B2L66",
     .in = {NORMAL(2, 66, 10),
            NORMAL(2, 66, 10),
            NORMAL(2, 66, 42),
            DECAY(2, 66, 6),
            {0},
            {SHAPE(2, 6, 40), FILL_UNIFORM, 0, 4}},
     .attributes = &grouped},
    {"relu-B2L70", .in = {NORMAL(2, 70, 44)}, .attributes = &relu},
    {"decay-B2L9", .in = {NORMAL(2, 9, 5), NORMAL(2, 9, 5), NORMAL(2, 9, 14), DECAY(2, 9, 2)},
     .attributes = &plain_h2g1d5m7},
    {"decay-B2L130-state",
     .in = {NORMAL(2, 130, 5),
            NORMAL(2, 130, 5),
            NORMAL(2, 130, 14),
            DECAY(2, 130, 2),
            {0},
            NORMAL(2, 2, 35)},
     .attributes = &plain_h2g1d5m7, .seeds = 3u},
    {"decay-constant", .in = {NORMAL(2, 70, 10), NORMAL(2, 70, 10), NORMAL(2, 70, 14), DECAY(2)},
     .attributes = &plain_h2g2d5m7},
    /* Decays that leave nothing: exp(b) underflows within a chunk. */
    {"decay-strong",
     .in = {NORMAL(1, 70, 5),
            NORMAL(1, 70, 5),
            NORMAL(1, 70, 14),
            {SHAPE(1, 70, 2), FILL_UNIFORM, -12, 0}},
     .attributes = &plain_h2g1d5m7},
    {"decay-B1L66D70M33",
     .in = {NORMAL(1, 66, 140), NORMAL(1, 66, 140), NORMAL(1, 66, 66), DECAY(1, 66, 2)},
     .attributes = &plain_h2g2d70m33},
    {"gain-B2L70",
     .in = {NORMAL(2, 70, 5),
            NORMAL(2, 70, 5),
            NORMAL(2, 70, 14),
            DECAY(2, 70, 2),
            {0},
            {0},
            NORMAL(2, 70, 2),
            NORMAL(2)},
     .attributes = &plain_h2g1d5m7},
    {"gain-grouped-B1L33",
     .in = {NORMAL(1, 33, 10),
            NORMAL(1, 33, 10),
            NORMAL(1, 33, 42),
            {0},
            {0},
            {0},
            {SHAPE(1, 33, 6), FILL_UNIFORM, 0.1, 1}},
     .attributes = &grouped},
    {"step-gain",
     .in = {NORMAL(2, 1, 5),
            NORMAL(2, 1, 5),
            NORMAL(2, 1, 14),
            DECAY(2, 1, 2),
            {0},
            NORMAL(2, 2, 35),
            NORMAL(2, 1, 2),
            NORMAL(2)},
     .attributes = &plain_h2g1d5m7, .gradient_free = true},
    {"step-B2H2",
     .in = {NORMAL(2, 1, 5),
            NORMAL(2, 1, 5),
            NORMAL(2, 1, 14),
            DECAY(2, 1, 2),
            {0},
            NORMAL(2, 2, 35)},
     .attributes = &plain_h2g1d5m7, .gradient_free = true},
    {"step-normalised",
     .in = {NORMAL(2, 1, 22), {0}, {0}, {0}, {0}, {SHAPE(2, 2, 18), FILL_UNIFORM, 0, 4}},
     .attributes = &causal_h2d3m5, .gradient_free = true},
    /* The first results are values by themselves, far above the root mean square of all: later ones
     * are means. An error of theirs in proportion counts twice. */
    {"B1L256H4D32", .in = {NORMAL(1, 256, 384)}, .attributes = &causal_h4d32m32, .tolerance = 2e-5,
     .benchmark = true},
    {"B1L1024H4D64", .in = {NORMAL(1, 1024, 768)}, .attributes = &causal_h4d64m64,
     .tolerance = 2e-5, .benchmark = true},
    {"both-B1L1024H4D64", .in = {NORMAL(1, 1024, 768)}, .attributes = &both_h4d64m64,
     .benchmark = true},
    {"mamba2-B1L512H8",
     .in = {NORMAL(1, 512, 128),
            NORMAL(1, 512, 128),
            NORMAL(1, 512, 512),
            DECAY(1, 512, 8),
            {0},
            {0},
            {SHAPE(1, 512, 8), FILL_UNIFORM, 0, 0.1},
            NORMAL(8)},
     .attributes = &mamba2, .benchmark = true},
    {"B8L2048H16D64", .in = {NORMAL(8, 2048, 3072)}, .attributes = &causal_h16d64m64, .gpu = true},
};

OP_CPU_DECLARE(linear_attention);
void linear_attention_reference(const ReferenceCall *call);

const Op op_linear_attention = {
    .name = "linear_attention",
    .summary = "S = a S + phi(k) v^T, z = a z + phi(k); o = phi(q) S / (phi(q) z + epsilon)",
    .inputs = LINEAR_INPUTS,
    .outputs = 2,
    .attribute_bytes = sizeof(LinearAttention),
    .needs_inputs = (1u << LINEAR_INPUTS) - 1u - (1u << LINEAR_STATE),
    .needs_outputs = 3u,
    .gradients = (1u << LINEAR_INPUTS) - 1u - (1u << LINEAR_LENGTHS),
    .multiplies = true,
    .shape = shape,
    .cost = cost,
    .scratch = scratch,
    .cpu = OP_CPU(linear_attention),
    .reference = linear_attention_reference,
    OP_CASES(cases),
};

Tensor *linear_attention(Tape *tape, const LinearAttentionInputs *inputs,
                         const LinearAttention *attributes, Tensor **next) {
    Tensor *in[LINEAR_INPUTS] = {[LINEAR_Q] = inputs->q,
                                 [LINEAR_K] = inputs->k,
                                 [LINEAR_V] = inputs->v,
                                 [LINEAR_DECAY] = inputs->log_decay,
                                 [LINEAR_LENGTHS] = inputs->lengths,
                                 [LINEAR_STATE] = inputs->state,
                                 [LINEAR_GAIN] = inputs->gain,
                                 [LINEAR_SKIP] = inputs->skip};
    const OpCall *call = tape_apply(tape, &op_linear_attention, in, LINEAR_INPUTS, attributes);
    if (next) *next = inputs->state ? call->out[1] : NULL;
    return call->out[0];
}
