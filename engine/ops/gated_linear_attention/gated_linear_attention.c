#include "engine/ops/gated_linear_attention/gated_linear_attention.h"

#include "engine/gemm.h"
#include "engine/ops/gated_linear_attention/gated_linear_attention_plan.h"

static void require(Tape *tape, const OpCall *call, int input, Shape shape, const char *text) {
    const Tensor *tensor = call->in[input];
    if (tensor && !shape_equal(&tensor->shape, &shape)) tape_fail(tape, call, "%s", text);
}

static void shape(Tape *tape, OpCall *call) {
    const int64_t H = ((const GatedLinearAttention *)call->attributes)->heads;
    const Tensor *q = call->in[GATED_Q], *v = call->in[GATED_V];
    if (H < 1 || q->shape.rank != 3 || v->shape.rank != 3 || extent(q, 2) % H || extent(v, 2) % H) {
        tape_fail(tape, call, "q must be (B, L, H d) and v (B, L, H m) with H = %lld",
                  (long long)H);
        return;
    }
    const GatedPlan plan = gated_plan(call);
    const Shape values = SHAPE(plan.B, plan.L, plan.H * plan.m);
    require(tape, call, GATED_K, q->shape, "keys must have the queries' shape");
    require(tape, call, GATED_V, values, "values must be (B, L, H m)");
    require(tape, call, GATED_DECAY, q->shape, "decays must have the keys' shape");
    require(tape, call, GATED_STATE, SHAPE(plan.B, plan.H, plan.state),
            "the state must be (B, H, d m)");
    tape_output(tape, call, TENSOR_FLOAT, values);
    if (call->in[GATED_STATE])
        tape_output(tape, call, TENSOR_FLOAT, SHAPE(plan.B, plan.H, plan.state));
    if (!call->in[GATED_STATE]) call->needs_outputs = 0;
    if (tape_mode(tape) == TAPE_TRAIN)
        tape_saved(tape, call, TENSOR_FLOAT, SHAPE(plan.B, plan.H, plan.chunks, plan.state));
}

/* Pairs of a query and a key of its own chunk that it sees, of one head. */
static double pairs_of(const GatedPlan *plan) {
    const double whole = (double)(plan->L / GATED_CHUNK), rest = (double)(plan->L % GATED_CHUNK);
    return (whole * GATED_CHUNK * (GATED_CHUNK + 1) + rest * (rest + 1)) / 2;
}

/* Forward: weights and their sums of values in a chunk, the state read and written; the decays are
 * six factors a channel. Backward: weights again, and two products a gradient in both parts. */
static void cost(const OpCall *call, Cost *forward, Cost *backward) {
    const GatedPlan plan = gated_plan(call);
    const double heads = (double)(plan.B * plan.H), d = (double)plan.d, m = (double)plan.m;
    const double tokens = heads * (double)plan.L, pairs = heads * pairs_of(&plan);
    const double inputs = tokens * (3 * d + m), notes = heads * (double)(plan.chunks * plan.state);
    *forward = (Cost){.flops = 2 * pairs * (d + m) + 4 * tokens * d * m + 6 * tokens * d,
                      .specials = tokens * d,
                      .bytes_read = 4 * inputs,
                      .bytes_written = 4 * (tokens * m + notes)};
    *backward = (Cost){.flops = pairs * (6 * d + 4 * m) + 8 * tokens * d * m + 16 * tokens * d,
                       .specials = tokens * d,
                       .bytes_read = 4 * (inputs + tokens * m + notes),
                       .bytes_written = 4 * inputs};
}

/* What a thread lays out (gated_head in gated_linear_attention_simd.h). */
size_t gated_linear_attention_scratch(const OpCall *call, Phase phase) {
    enum { PARTS = 20, ALIGNMENT = 16 };
    const GatedPlan plan = gated_plan(call);
    const int64_t C = GATED_CHUNK, widest = plan.d > plan.m ? plan.d : plan.m;
    const int64_t most = widest > C ? widest : C, row = (plan.d + 15) / 16 * 16;
    int64_t floats = 5 * C * row + 2 * C / GATED_BLOCK * row + C * C + plan.state;
    if (phase == PHASE_BACKWARD) floats += 6 * C * row + C * C + plan.state + row;
    const size_t bytes = (size_t)(floats + PARTS * ALIGNMENT) * sizeof(float) +
                         gemm_workspace(GEMM_NT, most, most, most, 1);
    return (bytes + 63) / 64 * 64;
}

static size_t scratch(const OpCall *call, int threads, Phase phase) {
    return (size_t)threads * gated_linear_attention_scratch(call, phase);
}

#define NORMAL(...)                                                                                \
    { SHAPE(__VA_ARGS__), FILL_NORMAL, 1, 0 }
#define DECAYS(least, ...)                                                                         \
    { SHAPE(__VA_ARGS__), FILL_UNIFORM, least, 0 }
#define INPUTS(B, L, H, d, m, least)                                                               \
    NORMAL(B, L, (H) * (d)), NORMAL(B, L, (H) * (d)), NORMAL(B, L, (H) * (m)),                     \
        DECAYS(least, B, L, (H) * (d))
#define HEADS(H, scale)                                                                            \
    .attributes = &(const GatedLinearAttention) {                                                  \
        H, scale                                                                                   \
    }

static const OpCase cases[] = {
    {"B1L1H1D1M1", .in = {INPUTS(1, 1, 1, 1, 1, -0.5), NORMAL(1, 1, 1)}, HEADS(1, 1)},
    {"B2L7H2D3M5", .in = {INPUTS(2, 7, 2, 3, 5, -0.5)}, HEADS(2, 0.5)},
    {"B1L16H1D4M3", .in = {INPUTS(1, 16, 1, 4, 3, -0.5)}, HEADS(1, 0.5)},
    {"B1L37H2D5M7", .in = {INPUTS(1, 37, 2, 5, 7, -0.5)}, HEADS(2, 0.5)},
    {"B2L64H1D8M8", .in = {INPUTS(2, 64, 1, 8, 8, -0.5)}, HEADS(1, 0.25)},
    {"B1L150H3D17M9", .in = {INPUTS(1, 150, 3, 17, 9, -0.5)}, HEADS(3, 0.25)},
    {"B1L193H1D35M70", .in = {INPUTS(1, 193, 1, 35, 70, -0.1)}, HEADS(1, 0.125)},
    {"B1L97H1D67M20", .in = {INPUTS(1, 97, 1, 67, 20, -0.1)}, HEADS(1, 0.125)},
    {"B2L130H2D4M6-state", .in = {INPUTS(2, 130, 2, 4, 6, -0.1), NORMAL(2, 2, 24)}, HEADS(2, 0.5),
     .seeds = 3u},
    {"B1L33H1D3M4-state", .in = {INPUTS(1, 33, 1, 3, 4, -0.1), NORMAL(1, 1, 12)}, HEADS(1, 0.5),
     .seeds = 3u},
    /* Keys whose factor relative to the begin of a chunk, or of 16 tokens, would be infinite. */
    {"forgetting", .in = {INPUTS(1, 140, 2, 5, 4, -60)}, HEADS(2, 0.5)},
    {"remembering", .in = {INPUTS(1, 140, 2, 5, 4, -1e-3)}, HEADS(2, 0.5)},
    {"step", .in = {INPUTS(2, 1, 2, 5, 19, -0.5), NORMAL(2, 2, 95)}, HEADS(2, 0.5),
     .gradient_free = true},
    {"B8L256H4D16M32", .in = {INPUTS(8, 256, 4, 16, 32, -0.1)}, HEADS(4, 0.25), .benchmark = true},
    {"B1L1024H4D64M128", .in = {INPUTS(1, 1024, 4, 64, 128, -0.1)}, HEADS(4, 0.125),
     .benchmark = true},
    {"B8L2048H4D128M256", .in = {INPUTS(8, 2048, 4, 128, 256, -0.1)}, HEADS(4, 0.0884),
     .gpu = true},
};

OP_CPU_DECLARE(gated_linear_attention);
void gated_linear_attention_reference(const ReferenceCall *call);

const Op op_gated_linear_attention = {
    .name = "gated_linear_attention",
    .summary = "S = diag(a) S + k v^T; o = q S, a per token and channel of k",
    .inputs = GATED_INPUTS,
    .outputs = 2,
    .attribute_bytes = sizeof(GatedLinearAttention),
    .needs_inputs = (1u << GATED_STATE) - 1u,
    .needs_outputs = 2u,
    .gradients = (1u << GATED_INPUTS) - 1u,
    .multiplies = true,
    .shape = shape,
    .cost = cost,
    .scratch = scratch,
    .cpu = OP_CPU(gated_linear_attention),
    .reference = gated_linear_attention_reference,
    OP_CASES(cases),
};

Tensor *gated_linear_attention(Tape *tape, const GatedLinearAttentionInputs *inputs,
                               const GatedLinearAttention *attributes, Tensor **next) {
    Tensor *in[GATED_INPUTS] = {inputs->q, inputs->k, inputs->v, inputs->log_decay, inputs->state};
    const OpCall *call = tape_apply(tape, &op_gated_linear_attention, in, GATED_INPUTS, attributes);
    if (next) *next = inputs->state ? call->out[1] : NULL;
    return call->out[0];
}
