#include "engine/ops/attention/attention.h"

#include <math.h>

OP_CPU_DECLARE(attention);

AttentionDropout attention_dropout(const OpCall *call, const Run *run) {
    AttentionDropout dropout = {.threshold = attention_threshold(call, run)};
    if (!dropout.threshold) return dropout;
    dropout.scale = attention_kept_scale(dropout.threshold);
    dropout.item = run->pass;
    random_key(run->seed, random_stream("dropout") ^ (uint64_t)call->number, dropout.key);
    return dropout;
}

int64_t attention_parts(const AttentionView *view) {
    enum { WANTED = 16, FEWEST = 512 }; /* parts in all; queries in one */
    const int64_t owners = view->batch * view->kv_heads;
    const int64_t longest = view->queries / FEWEST;
    int64_t parts = owners ? (WANTED + owners - 1) / owners : 1;
    if (parts > longest) parts = longest;
    return parts < 1 ? 1 : parts;
}

int64_t attention_scratch(const AttentionView *view, Phase phase) {
    enum { LANES_MOST = 16 };
    const int64_t width = (view->width + 2 * LANES_MOST - 1) / (2 * LANES_MOST) * 2 * LANES_MOST;
    const int64_t scores = ATTENTION_QUERIES * ATTENTION_KEYS;
    if (phase == PHASE_FORWARD)
        return ATTENTION_CHUNK * (2 * width + LANES_MOST + 1) + ATTENTION_KEYS * 2 * width + scores;
    return ATTENTION_QUERIES * (2 * width + 1) + ATTENTION_KEYS * 5 * width + 2 * scores +
           view->group * view->queries;
}

static void attention_shape(Tape *tape, OpCall *call) {
    const Attention *a = call->attributes;
    const Tensor *q = call->in[ATTENTION_Q], *k = call->in[ATTENTION_K], *v = call->in[ATTENTION_V];
    const Tensor *lengths = call->in[ATTENTION_LENGTHS];
    const int64_t q_width = a->heads * a->width, kv_width = a->kv_heads * a->width;
    if (a->heads < 1 || a->kv_heads < 1 || a->heads % a->kv_heads || a->width < 1) {
        tape_fail(tape, call,
                  "%ld query heads over %ld key heads of width %ld: the key heads must divide the "
                  "query heads",
                  (long)a->heads, (long)a->kv_heads, (long)a->width);
        return;
    }
    const bool step = call->in[ATTENTION_POSITION] != NULL;
    const int64_t packed = q_width + 2 * kv_width, expected = k && !step ? q_width : packed;
    const bool alone = step && extent(q, -1) == q_width; /* a step's query without key and value */
    if (q->shape.rank != 3 || (extent(q, 2) != expected && !alone)) {
        tape_fail(tape, call, "q is (.., %ld), expected (B, L, %ld) for %ld heads of width %ld",
                  (long)extent(q, -1), (long)expected, (long)a->heads, (long)a->width);
        return;
    }
    const int64_t k_expected = v ? kv_width : 2 * kv_width;
    if (k && (k->shape.rank != 3 || extent(k, 0) != extent(q, 0) || extent(k, 2) != k_expected ||
              (v && !shape_equal(&v->shape, &k->shape)))) {
        tape_fail(tape, call, "keys are (.., %ld), expected (%ld, Lk, %ld), and values alike",
                  (long)extent(k, -1), (long)extent(q, 0), (long)k_expected);
        return;
    }
    if (step && (extent(q, 1) != 1 || !k || v || tape_mode(tape) == TAPE_TRAIN)) {
        tape_fail(tape, call, "a position is for one query over a cache, outside of training");
        return;
    }
    if (lengths && (lengths->type != TENSOR_INTEGER || tensor_size(lengths) != extent(q, 0))) {
        tape_fail(tape, call, "lengths must be %ld integers, one a sequence", (long)extent(q, 0));
        return;
    }
    if (extent(q, 0) * a->heads * extent(q, 1) > UINT32_MAX) {
        tape_fail(tape, call, "more than 2^32 rows of weights (batch x heads x length)");
        return;
    }
    tape_output(tape, call, TENSOR_FLOAT, SHAPE(extent(q, 0), extent(q, 1), q_width));
    tape_saved(tape, call, TENSOR_FLOAT, SHAPE(extent(q, 0), a->heads, extent(q, 1)));
}

/* Pairs of query and visible key in one head, all lengths full. */
static double visible_pairs(const AttentionView *view) {
    double pairs = 0;
    for (int64_t i = 0; i < view->queries; i++) {
        int64_t seen = view->causal ? i + view->offset + 1 : view->keys;
        if (seen > view->keys) seen = view->keys;
        pairs += seen > 0 ? (double)seen : 0;
    }
    return pairs;
}

/* Two products of width d a pair forward (Q K, P V), five backward (Q K again, dO V, and one for
 * each gradient); one exponential a pair in each. */
static void attention_cost(const OpCall *call, Cost *forward, Cost *backward) {
    const AttentionView view = attention_view(call);
    const double d = (double)view.width, heads = (double)(view.batch * view.heads);
    const double pairs = visible_pairs(&view) * heads;
    const double q = heads * (double)view.queries * d;
    const double kv = 2 * (double)(view.batch * view.kv_heads * view.keys) * d;
    const double rows = heads * (double)view.queries;
    *forward = (Cost){4 * d * pairs, pairs, 4 * (q + kv), 4 * (q + rows)};
    *backward = (Cost){10 * d * pairs, pairs, 4 * (3 * q + kv + rows), 4 * (q + kv)};
}

static size_t attention_scratch_bytes(const OpCall *call, int threads, Phase phase) {
    const AttentionView view = attention_view(call);
    const int64_t parts = phase == PHASE_FORWARD ? 1 : attention_parts(&view);
    int64_t floats = threads * attention_scratch(&view, phase);
    const int64_t at_once = parts < threads ? parts : threads;
    if (parts > 1) floats += view.batch * view.kv_heads * at_once * 2 * view.keys * view.width;
    return (size_t)floats * sizeof(float);
}

Tensor *attention_packed(Tape *tape, Tensor *qkv, Tensor *lengths, const Attention *attributes) {
    Tensor *in[] = {qkv, NULL, NULL, lengths};
    return tape_apply(tape, &op_attention, in, 4, attributes)->out[0];
}

Tensor *attention(Tape *tape, Tensor *q, Tensor *k, Tensor *v, Tensor *lengths,
                  const Attention *attributes) {
    Tensor *in[] = {q, k, v, lengths};
    return tape_apply(tape, &op_attention, in, 4, attributes)->out[0];
}

Tensor *attention_step(Tape *tape, Tensor *qkv, Tensor *cache, Tensor *position,
                       const Attention *attributes) {
    Tensor *in[] = {qkv, cache, NULL, NULL, position};
    return tape_apply(tape, &op_attention, in, 5, attributes)->out[0];
}

#define NORMAL(...)                                                                                \
    { SHAPE(__VA_ARGS__), FILL_NORMAL, 1, 0 }

static const Attention causal_h1d8 = {1, 1, 8, true, 0};
static const Attention causal_h3d5 = {3, 3, 5, true, 0};
static const Attention causal_h2d32 = {2, 2, 32, true, 0};
static const Attention causal_h1d16 = {1, 1, 16, true, 0};
static const Attention causal_h4d16 = {4, 4, 16, true, 0};
static const Attention causal_h4d64 = {4, 4, 64, true, 0};
static const Attention causal_h1d64 = {1, 1, 64, true, 0};
static const Attention causal_h6k2d20 = {6, 2, 20, true, 0};
static const Attention causal_h1d128 = {1, 1, 128, true, 0};
static const Attention causal_h32d64 = {32, 32, 64, true, 0};
static const Attention causal_h16d128 = {16, 16, 128, true, 0};
static const Attention causal_h3d13 = {3, 3, 13, true, 0};
static const Attention dropped_h2d16 = {2, 1, 16, true, 0.3};
static const Attention causal_h2k1d64 = {2, 1, 64, true, 0};
static const Attention causal_h2k1d51 = {2, 1, 51, true, 0};
static const Attention dropped_h2k1d140 = {2, 1, 140, true, 0.2};
static const Attention dropped_both_h1d9 = {1, 1, 9, false, 0.1};
static const Attention both_h2d24 = {2, 2, 24, false, 0};
static const Attention both_h3k1d33 = {3, 1, 33, false, 0};
static const Attention both_h2k1d40 = {2, 1, 40, false, 0};
static const Attention causal_h1d100 = {1, 1, 100, true, 0};
static const Attention both_h2d1 = {2, 2, 1, false, 0};
static const Attention causal_h1d136 = {1, 1, 136, true, 0};
static const Attention causal_h2d256 = {2, 2, 256, true, 0};
static const Attention both_h1d200 = {1, 1, 200, false, 0};
static const Attention both_h3k1d257 = {3, 1, 257, false, 0};
static const Attention dropped_h2k1d300 = {2, 1, 300, true, 0.2};
static const Attention causal_h1d520 = {1, 1, 520, true, 0};
static const Attention causal_h1d256 = {1, 1, 256, true, 0};
static const Attention causal_h1d512 = {1, 1, 512, true, 0};

static const OpCase cases[] = {
    {.name = "L1H1D8", .in = {NORMAL(2, 1, 24)}, .attributes = &causal_h1d8},
    {.name = "L7H3D5", .in = {NORMAL(2, 7, 45)}, .attributes = &causal_h3d5},
    {.name = "L64H2D32",
     .in = {NORMAL(4, 64, 192)},
     .attributes = &causal_h2d32,
     .benchmark = true},
    {.name = "L131H6K2D20", .in = {NORMAL(2, 131, 200)}, .attributes = &causal_h6k2d20},
    {.name = "L97H1D128", .in = {NORMAL(1, 97, 384)}, .attributes = &causal_h1d128},
    {.name = "L203H2K1D64", .in = {NORMAL(1, 203, 256)}, .attributes = &causal_h2k1d64},
    /* several tiles of keys that add to a query's gradient in turn; some see no query */
    {.name = "padded_L330H2K1D64",
     .in = {NORMAL(2, 330, 256), {0}, {0}, {SHAPE(2), FILL_INTEGER, 0, 331}},
     .attributes = &causal_h2k1d64},
    {.name = "Q270K400H2K1D51",
     .in = {NORMAL(1, 270, 102), NORMAL(1, 400, 51), NORMAL(1, 400, 51)},
     .attributes = &causal_h2k1d51},
    /* copies of a GPU as large as their inputs: kept for backward in float32 too */
    {.name = "L128H1D16", .in = {NORMAL(1, 128, 48)}, .attributes = &causal_h1d16},
    {.name = "padded_L139H1D128",
     .in = {NORMAL(2, 139, 384), {0}, {0}, {SHAPE(2), FILL_INTEGER, 0, 140}},
     .attributes = &causal_h1d128},
    /* more tiles than a GPU keeps at a time, and blocks that see no key */
    {.name = "padded_Q145K700H2K1D40",
     .in = {NORMAL(2, 145, 80),
            NORMAL(2, 700, 40),
            NORMAL(2, 700, 40),
            {SHAPE(2), FILL_INTEGER, 0, 701}},
     .attributes = &both_h2k1d40},
    /* and queries that leave some of a block's warps without any */
    {.name = "Q70K430H2K1D40",
     .in = {NORMAL(1, 70, 80), NORMAL(1, 430, 40), NORMAL(1, 430, 40)},
     .attributes = &both_h2k1d40},
    {.name = "Q90K660H1D100",
     .in = {NORMAL(1, 90, 100), NORMAL(1, 660, 100), NORMAL(1, 660, 100)},
     .attributes = &causal_h1d100},
    {.name = "Q300K150H1D100",
     .in = {NORMAL(1, 300, 100), NORMAL(1, 150, 100), NORMAL(1, 150, 100)},
     .attributes = &causal_h1d100},
    /* wider than the tiles of a GPU: one part (more than one tile of rows), then several */
    {.name = "wide_L23H2K1D140", .in = {NORMAL(2, 23, 560)}, .attributes = &dropped_h2k1d140},
    {.name = "wide_L75H1D136", .in = {NORMAL(1, 75, 408)}, .attributes = &causal_h1d136},
    {.name = "wide_L31H2D256", .in = {NORMAL(1, 31, 1536)}, .attributes = &causal_h2d256},
    {.name = "wide_padded_Q11K90H1D200",
     .in = {NORMAL(2, 11, 200),
            NORMAL(2, 90, 200),
            NORMAL(2, 90, 200),
            {SHAPE(2), FILL_INTEGER, 0, 91}},
     .attributes = &both_h1d200},
    {.name = "wide_Q9K35H3K1D257",
     .in = {NORMAL(1, 9, 771), NORMAL(1, 35, 257), NORMAL(1, 35, 257)},
     .attributes = &both_h3k1d257},
    {.name = "wide_Q13K37H2K1D300",
     .in = {NORMAL(1, 13, 600), NORMAL(1, 37, 300), NORMAL(1, 37, 300)},
     .attributes = &dropped_h2k1d300},
    {.name = "wide_Q70K20H1D136",
     .in = {NORMAL(1, 70, 136), NORMAL(1, 20, 136), NORMAL(1, 20, 136)},
     .attributes = &causal_h1d136},
    {.name = "wide_L19H1D520", .in = {NORMAL(2, 19, 1560)}, .attributes = &causal_h1d520},
    {.name = "parts_L1030H1D8", .in = {NORMAL(1, 1030, 24)}, .attributes = &causal_h1d8},
    {.name = "both_L61H2D24", .in = {NORMAL(2, 61, 144)}, .attributes = &both_h2d24},
    {.name = "both_L5H2D1", .in = {NORMAL(1, 5, 6)}, .attributes = &both_h2d1},
    /* keys from lengths[b] on are hidden; a sequence of length 0 gives zeros */
    {.name = "padded_L45H2D24",
     .in = {NORMAL(9, 45, 144), {0}, {0}, {SHAPE(9), FILL_INTEGER, 0, 46}},
     .attributes = &both_h2d24},
    {.name = "padded_causal_L33H3D5",
     .in = {NORMAL(5, 33, 45), {0}, {0}, {SHAPE(5), FILL_INTEGER, 0, 40}},
     .attributes = &causal_h3d5},
    {.name = "packed_Q21K64H2K1D40",
     .in = {NORMAL(2, 21, 80), NORMAL(2, 64, 80)},
     .attributes = &both_h2k1d40},
    {.name = "Q12K39H3K1D33",
     .in = {NORMAL(2, 12, 99), NORMAL(2, 39, 33), NORMAL(2, 39, 33)},
     .attributes = &both_h3k1d33},
    {.name = "Q9K150H3D13",
     .in = {NORMAL(2, 9, 39), NORMAL(2, 150, 39), NORMAL(2, 150, 39)},
     .attributes = &causal_h3d13},
    /* more queries than keys: the first 60 see nothing */
    {.name = "Q99K39H3D13",
     .in = {NORMAL(1, 99, 39), NORMAL(1, 39, 39), NORMAL(1, 39, 39)},
     .attributes = &causal_h3d13},
    /* scores up to some hundreds: weights of 0 and 1, no infinities. Rounding of such a score is
     * some 1e-5, and enters the weight as it is. */
    {.name = "saturated_L70H2D24",
     .in = {{SHAPE(2, 70, 48), FILL_NORMAL, 60, 0}, NORMAL(2, 70, 48), NORMAL(2, 70, 48)},
     .attributes = &both_h2d24,
     .tolerance = 1e-3},
    {.name = "dropout_L70H2K1D16", .in = {NORMAL(3, 70, 64)}, .attributes = &dropped_h2d16},
    {.name = "dropout_both_L19H1D9", .in = {NORMAL(2, 19, 27)}, .attributes = &dropped_both_h1d9},
    {.name = "step_H2D32",
     .in = {NORMAL(3, 1, 192), NORMAL(3, 50, 128), {0}, {0}, {SHAPE(1), FILL_COUNT, 36, 0}},
     .attributes = &causal_h2d32,
     .gradient_free = true},
    {.name = "step_alone_H2D32",
     .in = {NORMAL(3, 1, 64), NORMAL(3, 50, 128), {0}, {0}, {SHAPE(1), FILL_COUNT, 49, 0}},
     .attributes = &causal_h2d32,
     .gradient_free = true},
    {.name = "step_H6K2D20",
     .in = {NORMAL(2, 1, 200), NORMAL(2, 300, 80), {0}, {0}, {SHAPE(1), FILL_COUNT, 299, 0}},
     .attributes = &causal_h6k2d20,
     .gradient_free = true},
    {.name = "step_L4096H4D64",
     .in = {NORMAL(1, 1, 768), NORMAL(1, 4096, 512), {0}, {0}, {SHAPE(1), FILL_COUNT, 4095, 0}},
     .attributes = &causal_h4d64,
     .benchmark = true,
     .gradient_free = true},
    {.name = "L64H4D16",
     .in = {NORMAL(8, 64, 192)},
     .attributes = &causal_h4d16,
     .benchmark = true},
    {.name = "L256H2D32",
     .in = {NORMAL(2, 256, 192)},
     .attributes = &causal_h2d32,
     .benchmark = true},
    {.name = "L512H2D32",
     .in = {NORMAL(1, 512, 192)},
     .attributes = &causal_h2d32,
     .benchmark = true},
    {.name = "L2048H1D64",
     .in = {NORMAL(1, 2048, 192)},
     .attributes = &causal_h1d64,
     .benchmark = true},
    /* one head, as MQAR's */
    {.name = "B256L256H1D256",
     .in = {NORMAL(256, 256, 768)},
     .attributes = &causal_h1d256,
     .gpu = true},
    {.name = "B16L1024H1D512",
     .in = {NORMAL(16, 1024, 1536)},
     .attributes = &causal_h1d512,
     .gpu = true},
    /* 16384 tokens at width 2048 */
    {.name = "B4L4096H32D64",
     .in = {NORMAL(4, 4096, 6144)},
     .attributes = &causal_h32d64,
     .gpu = true},
    {.name = "B2L8192H32D64",
     .in = {NORMAL(2, 8192, 6144)},
     .attributes = &causal_h32d64,
     .gpu = true},
    {.name = "B1L16384H32D64",
     .in = {NORMAL(1, 16384, 6144)},
     .attributes = &causal_h32d64,
     .gpu = true},
    {.name = "B4L4096H16D128",
     .in = {NORMAL(4, 4096, 6144)},
     .attributes = &causal_h16d128,
     .gpu = true},
    {.name = "B2L8192H16D128",
     .in = {NORMAL(2, 8192, 6144)},
     .attributes = &causal_h16d128,
     .gpu = true},
    {.name = "B1L16384H16D128",
     .in = {NORMAL(1, 16384, 6144)},
     .attributes = &causal_h16d128,
     .gpu = true},
};

const Op op_attention = {
    .name = "attention",
    .summary = "O = softmax(Q K^T / sqrt(d)) V, head by head",
    .inputs = 5,
    .outputs = 1,
    .attribute_bytes = sizeof(Attention),
    .needs_inputs = 0x1F,
    .needs_outputs = 0x1,
    .gradients = 0x7,
    .multiplies = true,
    .draws = true,
    .shape = attention_shape,
    .cost = attention_cost,
    .scratch = attention_scratch_bytes,
    .cpu = OP_CPU(attention),
    .reference = attention_reference,
    OP_CASES(cases),
};
