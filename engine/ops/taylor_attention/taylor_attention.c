#include "engine/ops/taylor_attention/taylor_attention.h"

#include "engine/gemm.h"
#include "engine/ops/taylor_attention/taylor_plan.h"

static void shape(Tape *tape, OpCall *call) {
    const TaylorAttention *a = call->attributes;
    const Tensor *qkv = call->in[TAYLOR_QKV], *state = call->in[TAYLOR_STATE];
    if (a->heads < 1 || a->key_width < 1 || a->value_width < 1 || a->key_width > TAYLOR_WIDEST) {
        tape_fail(tape, call, "%ld heads of %ld channels; keys have 1 to %d", (long)a->heads,
                  (long)a->key_width, TAYLOR_WIDEST);
        return;
    }
    const int64_t width = a->heads * (2 * a->key_width + a->value_width);
    if (qkv->shape.rank != 3 || extent(qkv, 2) != width) {
        tape_fail(tape, call, "q, k and v are (.., %ld), expected (B, L, %ld)",
                  (long)extent(qkv, -1), (long)width);
        return;
    }
    const TaylorPlan plan = taylor_plan(call);
    const Shape states = SHAPE(plan.B, plan.H, plan.state);
    if (state && !shape_equal(&state->shape, &states)) {
        tape_fail(tape, call, "the state must be (B, H, F m + F) with F = %ld", (long)plan.F);
        return;
    }
    tape_output(tape, call, TENSOR_FLOAT, SHAPE(plan.B, plan.L, plan.H * plan.m));
    if (state) tape_output(tape, call, TENSOR_FLOAT, states);
    if (tape_mode(tape) != TAPE_TRAIN) return;
    tape_saved(tape, call, TENSOR_FLOAT, SHAPE(plan.B, plan.L, plan.H));
    if (!plan.pairs)
        tape_saved(tape, call, TENSOR_FLOAT, SHAPE(plan.B, plan.H, plan.tiles, plan.state));
}

/* Pairs of a query and a key that it sees without the state, of one head. */
static double pairs_of(const TaylorPlan *plan) {
    const double span = plan->pairs ? (double)plan->L : TAYLOR_TILE;
    const double whole = floor((double)plan->L / span), rest = (double)plan->L - whole * span;
    return (whole * span * (span + 1) + rest * (rest + 1)) / 2;
}

/* Forward: two products of pairs, five operations for a weight and its sum; the state is read by
 * all tokens but those of the first chunk, added to by all but those of the last, and features are
 * made for both. Backward: five products of pairs, twice the work with the state. */
static void cost(const OpCall *call, Cost *forward, Cost *backward) {
    const TaylorPlan plan = taylor_plan(call);
    const double heads = (double)(plan.B * plan.H), d = (double)plan.d, m = (double)plan.m;
    const double tokens = heads * (double)plan.L, pairs = heads * pairs_of(&plan);
    const double last = (double)(plan.L - (plan.tiles - 1) * TAYLOR_TILE);
    double crossing = 0; /* tokens that read, plus those that add */
    if (plan.starts)
        crossing = 2 * tokens;
    else if (!plan.pairs)
        crossing = 2 * tokens - heads * (TAYLOR_TILE + last);
    const double state = crossing * (double)plan.F * (2 * m + 3);
    const double notes = plan.pairs ? 0 : heads * (double)(plan.tiles * plan.state);
    *forward = (Cost){.flops = pairs * (2 * (d + m) + 5) + state + tokens * m,
                      .specials = tokens,
                      .bytes_read = 4 * tokens * (2 * d + m),
                      .bytes_written = 4 * (tokens * (m + 1) + notes)};
    *backward = (Cost){.flops = pairs * (6 * d + 4 * m + 9) + 2 * state + 2 * tokens * m,
                       .specials = tokens,
                       .bytes_read = 4 * (tokens * (2 * d + 3 * m + 1) + notes),
                       .bytes_written = 4 * tokens * (2 * d + m)};
}

/* What a thread lays out (Head in taylor_simd.h); every part begins at 64 bytes. */
size_t taylor_scratch(const OpCall *call, Phase phase) {
    enum { PARTS = 10, ALIGNMENT = 16, C = TAYLOR_TILE };
    const TaylorPlan plan = taylor_plan(call);
    int64_t floats = C * C * (plan.pairs ? plan.tiles : 1);
    if (!plan.pairs) floats += (plan.d + plan.F) * C + plan.state;
    if (phase == PHASE_BACKWARD) floats *= 2;
    floats += PARTS * ALIGNMENT;
    const int64_t most = plan.F > plan.m ? plan.F : plan.m, longest = plan.L > most ? plan.L : most;
    const size_t bytes =
        (size_t)floats * sizeof(float) + gemm_workspace(GEMM_NT, longest, longest, longest, 1);
    return (bytes + 63) / 64 * 64;
}

static size_t scratch(const OpCall *call, int threads, Phase phase) {
    return (size_t)threads * taylor_scratch(call, phase);
}

#define NORMAL(...)                                                                                \
    { SHAPE(__VA_ARGS__), FILL_NORMAL, 1, 0 }
/* Sums so small that the tokens' own weights, 1/2 at least, keep denominators from zero. */
#define SUMS(...)                                                                                  \
    { SHAPE(__VA_ARGS__), FILL_UNIFORM, 0, 0.05 }
#define HEADS(H, d, m)                                                                             \
    .attributes = &(const TaylorAttention) {                                                       \
        H, d, m, 1e-12                                                                             \
    }

static const OpCase cases[] = {
    {"L1H1D1M1", .in = {NORMAL(1, 1, 3)}, HEADS(1, 1, 1)},
    {"pairs-B2L7H2D3M5", .in = {NORMAL(2, 7, 22)}, HEADS(2, 3, 5)},
    {"pairs-B1L35D5M3", .in = {NORMAL(1, 35, 13)}, HEADS(1, 5, 3)},
    {"pairs-B1L67H2D7M9", .in = {NORMAL(1, 67, 46)}, HEADS(2, 7, 9)},
    {"pairs-B2L197H3D16M20", .in = {NORMAL(2, 197, 156)}, HEADS(3, 16, 20)},
    {"pairs-B1L130D40M33", .in = {NORMAL(1, 130, 113)}, HEADS(1, 40, 33)},
    {"B1L67H2D1M1", .in = {NORMAL(1, 67, 6)}, HEADS(2, 1, 1)},
    {"B2L64D2M3", .in = {NORMAL(2, 64, 7)}, HEADS(1, 2, 3)},
    {"B2L150H2D3M5", .in = {NORMAL(2, 150, 22)}, HEADS(2, 3, 5)},
    {"B1L258H3D5M18", .in = {NORMAL(1, 258, 84)}, HEADS(3, 5, 18)},
    {"state-B2L5H2D3M4", .in = {NORMAL(2, 5, 20), SUMS(2, 2, 50)}, HEADS(2, 3, 4), .seeds = 3u},
    {"state-B1L130H1D17M7", .in = {NORMAL(1, 130, 41), SUMS(1, 1, 1368)}, HEADS(1, 17, 7),
     .seeds = 3u},
    {"step-B2H2D3M5", .in = {NORMAL(2, 1, 22), SUMS(2, 2, 60)}, HEADS(2, 3, 5),
     .gradient_free = true},
    {"step-B1H1D64M33", .in = {NORMAL(1, 1, 161), SUMS(1, 1, 72930)}, HEADS(1, 64, 33),
     .gradient_free = true},
    /* The first results are values by themselves, far above the root mean square of all: later ones
     * are means. An error of theirs in proportion counts twice. */
    {"B8L256H1D16M128", .in = {NORMAL(8, 256, 160)}, HEADS(1, 16, 128), .tolerance = 2e-5,
     .benchmark = true},
    {"B1L1024H4D16M32", .in = {NORMAL(1, 1024, 256)}, HEADS(4, 16, 32), .tolerance = 2e-5,
     .benchmark = true},
    {"B8L2048H16D16M64", .in = {NORMAL(8, 2048, 1536)}, HEADS(16, 16, 64), .gpu = true},
};

OP_CPU_DECLARE(taylor_attention);

const Op op_taylor_attention = {
    .name = "taylor_attention",
    .summary = "o_i = sum_j w_ij v_j / sum_j w_ij; w = 1 + s + s^2 / 2, s = q . k / sqrt(d)",
    .inputs = TAYLOR_INPUTS,
    .outputs = 2,
    .attribute_bytes = sizeof(TaylorAttention),
    .needs_inputs = 1u << TAYLOR_QKV,
    .needs_outputs = 1,
    .gradients = (1u << TAYLOR_INPUTS) - 1u,
    .multiplies = true,
    .shape = shape,
    .cost = cost,
    .scratch = scratch,
    .cpu = OP_CPU(taylor_attention),
    .reference = taylor_attention_reference,
    OP_CASES(cases),
};

Tensor *taylor_attention(Tape *tape, Tensor *qkv, Tensor *state, const TaylorAttention *attributes,
                         Tensor **next) {
    Tensor *in[TAYLOR_INPUTS] = {[TAYLOR_QKV] = qkv, [TAYLOR_STATE] = state};
    const OpCall *call = tape_apply(tape, &op_taylor_attention, in, TAYLOR_INPUTS, attributes);
    if (next) *next = state ? call->out[1] : NULL;
    return call->out[0];
}
