#include "engine/ops/pattern_attention/pattern_attention.h"

#include <math.h>

OP_CPU_DECLARE(pattern_attention);

static bool is_step(const OpCall *call) {
    return call->inputs > PATTERN_POSITION;
}

int64_t pattern_parts(const OpCall *call) {
    enum { WANTED = 16 }; /* parts of all heads */
    const PatternAttention *a = call->attributes;
    const int64_t batch = extent(call->in[PATTERN_Q], 0);
    const int64_t parts = (WANTED + a->heads - 1) / a->heads;
    return parts < batch ? parts : batch;
}

/* The widest registers' shapes (attention_tile.h, pattern_attention_tile.h). */
enum {
    LANES_MOST = 16,
    QUERIES = 48,
    KEYS = 96,
    CHUNK = 288,
    BAND = 192,
    BAND_CHUNK = 432,
    SLOT_MARGIN = 160
};

static int64_t padded_width(const PatternAttention *a) {
    return (a->width + 2 * LANES_MOST - 1) / (2 * LANES_MOST) * 2 * LANES_MOST;
}

/* Keys and values of all summaries of one kind. */
static int64_t gathered_floats(const OpCall *call, const PatternAttention *a) {
    if (a->pattern != PATTERN_FIXED) return 0;
    return extent(call->in[PATTERN_Q], 1) / a->length * a->summaries * 2 * a->width;
}

int64_t pattern_thread_floats(const OpCall *call, Phase phase) {
    const PatternAttention *a = call->attributes;
    const int64_t width = padded_width(a), relative = call->in[PATTERN_R] != NULL;
    int64_t floats = gathered_floats(call, a) + QUERIES * KEYS + 256;
    if (relative) floats += width * BAND_CHUNK + QUERIES * BAND;
    if (phase == PHASE_FORWARD)
        floats += CHUNK * ((2 + relative) * width + LANES_MOST + 2) + KEYS * 2 * width;
    else
        floats += QUERIES * (2 * width + 1) + KEYS * (5 * width + QUERIES) +
                  relative * (QUERIES + BAND_CHUNK) * width;
    return (floats + 15) / 16 * 16;
}

static size_t scratch(const OpCall *call, int threads, Phase phase) {
    const PatternAttention *a = call->attributes;
    if (is_step(call)) return 0;
    int64_t floats = threads * pattern_thread_floats(call, phase);
    if (phase == PHASE_BACKWARD) floats += tensor_size(call->saved[0]) + 16;
    if (phase == PHASE_BACKWARD && call->in[PATTERN_R])
        floats += a->heads * pattern_parts(call) *
                  (extent(call->in[PATTERN_R], 0) + 2 * SLOT_MARGIN + 2) * padded_width(a);
    return (size_t)floats * sizeof(float);
}

/* Rows of keys and values are all heads wide, in a cache also heads that queries' heads share. */
static bool key_width_fits(const OpCall *call, const Tensor *keys) {
    const PatternAttention *a = call->attributes;
    const int64_t row = extent(keys, 2), one = 2 * a->width;
    if (!is_step(call)) return row == a->heads * one;
    return row >= one && row % one == 0 && a->heads % (row / one) == 0;
}

static void check_relative(Tape *tape, OpCall *call, int64_t most) {
    const PatternAttention *a = call->attributes;
    const Tensor *r = call->in[PATTERN_R];
    const int64_t width = a->heads * a->width;
    bool good = a->pattern == PATTERN_SEGMENTS && r->shape.rank == 2 && extent(r, 1) == width &&
                extent(r, 0) >= most;
    for (int input = PATTERN_U; input <= PATTERN_V; input++)
        good &= call->in[input] && tensor_size(call->in[input]) == width;
    if (!good)
        tape_fail(tape, call,
                  "relative scores need segments and r (at least %ld, %ld), u and v (%ld)",
                  (long)most, (long)width, (long)width);
}

static void shape(Tape *tape, OpCall *call) {
    const PatternAttention *a = call->attributes;
    const Tensor *q = call->in[PATTERN_Q], *kv = call->in[PATTERN_KV];
    const Tensor *memory = call->in[PATTERN_MEMORY];
    const int64_t width = a->heads * a->width;
    if (a->heads < 1 || a->width < 1 || a->width > PATTERN_WIDEST || a->length < 1 ||
        a->memory < 0 ||
        (a->pattern == PATTERN_FIXED &&
         (a->summaries < 0 || a->kinds < 1 || a->summaries * a->kinds > a->length))) {
        tape_fail(
            tape, call,
            "%ld heads of width %ld (1 .. %d), length %ld, %ld x %ld summaries: a segment holds "
            "all its summaries",
            (long)a->heads, (long)a->width, PATTERN_WIDEST, (long)a->length, (long)a->summaries,
            (long)a->kinds);
        return;
    }
    const int64_t expected =
        kv && !(is_step(call) && extent(q, -1) == 3 * width) ? width : 3 * width;
    if (q->shape.rank != 3 || extent(q, 2) != expected) {
        tape_fail(tape, call, "q is (.., %ld), expected (B, L, %ld)", (long)extent(q, -1),
                  (long)expected);
        return;
    }
    const int64_t L = extent(q, 1);
    if (is_step(call) && (L != 1 || !kv || memory || tape_mode(tape) == TAPE_TRAIN)) {
        tape_fail(tape, call, "a position is for one query over a cache, outside of training");
        return;
    }
    for (int input = PATTERN_KV; input <= PATTERN_MEMORY; input++) {
        const Tensor *keys = call->in[input];
        if (!keys || (keys->shape.rank == 3 && extent(keys, 0) == extent(q, 0) &&
                      (is_step(call) || extent(keys, 1) == L) && key_width_fits(call, keys)))
            continue;
        tape_fail(tape, call, "keys and values are (.., %ld), expected (%ld, %ld, %ld)",
                  (long)extent(keys, -1), (long)extent(q, 0), (long)L, (long)(2 * width));
        return;
    }
    const int64_t rows = is_step(call) ? extent(kv, 1) : L, most = a->length + a->memory;
    if (call->in[PATTERN_R]) check_relative(tape, call, most < rows ? most : rows);
    tape_output(tape, call, TENSOR_FLOAT, SHAPE(extent(q, 0), L, width));
    tape_saved(tape, call, TENSOR_FLOAT, SHAPE(extent(q, 0), a->heads, L));
}

/* As attention's, for what the pattern shows: two products of width d a pair forward, five
 * backward; relative scores are one more, and three: X again, dQ and dR. */
static void cost(const OpCall *call, Cost *forward, Cost *backward) {
    const PatternAttention *a = call->attributes;
    const Tensor *q = call->in[PATTERN_Q];
    const double d = (double)a->width, heads = (double)(extent(q, 0) * a->heads);
    const double relative = call->in[PATTERN_R] ? 1 : 0;
    double pairs = 0;
    if (is_step(call)) /* where decoding is, is not known here */
        pairs = (double)pattern_count(a, extent(call->in[PATTERN_KV], 1) - 1);
    for (int64_t i = 0; !is_step(call) && i < extent(q, 1); i++)
        pairs += (double)pattern_count(a, i);
    pairs *= heads;
    const double rows = heads * (double)extent(q, 1), one = rows * d;
    const double shared = is_step(call) ? (double)pattern_cache_heads(call) / (double)a->heads : 1;
    const double keys = is_step(call) ? 2 * d * pairs * shared : 2 * one;
    *forward = (Cost){(4 + 2 * relative) * d * pairs, pairs, 4 * (one + keys), 4 * (one + rows)};
    *backward = (Cost){(10 + 6 * relative) * d * pairs, pairs, 4 * (5 * one + rows), 4 * 3 * one};
}

static Tensor *apply(Tape *tape, Tensor **in, int inputs, const RelativeScores *relative,
                     const PatternAttention *attributes) {
    if (relative) {
        in[PATTERN_R] = relative->r;
        in[PATTERN_U] = relative->u;
        in[PATTERN_V] = relative->v;
    }
    return tape_apply(tape, &op_pattern_attention, in, inputs, attributes)->out[0];
}

Tensor *pattern_attention(Tape *tape, Tensor *q, Tensor *kv, Tensor *memory,
                          const RelativeScores *relative, const PatternAttention *attributes) {
    Tensor *in[] = {q, kv, memory, NULL, NULL, NULL};
    return apply(tape, in, 6, relative, attributes);
}

Tensor *pattern_attention_step(Tape *tape, Tensor *q, Tensor *cache, Tensor *position,
                               const RelativeScores *relative, const PatternAttention *attributes) {
    Tensor *in[] = {q, cache, NULL, NULL, NULL, NULL, position};
    return apply(tape, in, 7, relative, attributes);
}

int64_t pattern_cache_rows(const PatternAttention *a, int64_t horizon) {
    int64_t rows = horizon;
    if (a->pattern == PATTERN_SEGMENTS) rows = a->length + a->memory;
    if (a->pattern == PATTERN_LOCAL) rows = a->length;
    return rows < horizon ? rows : horizon;
}

#define NORMAL(...)                                                                                \
    { .shape = SHAPE(__VA_ARGS__), .fill = FILL_NORMAL, .a = 1 }
#define POSITION(t)                                                                                \
    { .shape = SHAPE(1), .fill = FILL_COUNT, .a = t }
#define ABSENT                                                                                     \
    { 0 }

/* r, u and v of a quarter of the size: scores are then about as large as those of attention, and so
 * is what rounding does to them */
#define RELATIVE(rows, width)                                                                      \
    {.shape = SHAPE(rows, width), .fill = FILL_NORMAL, .a = 0.25},                                 \
        {.shape = SHAPE(width), .fill = FILL_NORMAL, .a = 0.25}, {                                 \
        .shape = SHAPE(width), .fill = FILL_NORMAL, .a = 0.25                                      \
    }

/* {heads, width, pattern, length, memory, summaries, kinds} */
static const PatternAttention segments_h1d1 = {1, 1, PATTERN_SEGMENTS, 1, 0, 0, 0};
static const PatternAttention segments_h2d12 = {2, 12, PATTERN_SEGMENTS, 7, 0, 0, 0};
static const PatternAttention segments_h2d9m5 = {2, 9, PATTERN_SEGMENTS, 13, 5, 0, 0};
static const PatternAttention segments_h1d20m23 = {1, 20, PATTERN_SEGMENTS, 11, 23, 0, 0};
static const PatternAttention segments_h1d40m100 = {1, 40, PATTERN_SEGMENTS, 100, 100, 0, 0};
static const PatternAttention segments_h2d16m70 = {2, 16, PATTERN_SEGMENTS, 50, 70, 0, 0};
static const PatternAttention segments_h1d7 = {1, 7, PATTERN_SEGMENTS, 400, 0, 0, 0};
static const PatternAttention local_h2d11 = {2, 11, PATTERN_LOCAL, 13, 0, 0, 0};
static const PatternAttention local_h1d32 = {1, 32, PATTERN_LOCAL, 70, 0, 0, 0};
static const PatternAttention local_h6d8 = {6, 8, PATTERN_LOCAL, 39, 0, 0, 0};
static const PatternAttention local_h2d5 = {2, 5, PATTERN_LOCAL, 1, 0, 0, 0};
static const PatternAttention strided_h2d8 = {2, 8, PATTERN_STRIDED, 5, 0, 0, 0};
static const PatternAttention strided_h1d24 = {1, 24, PATTERN_STRIDED, 2, 0, 0, 0};
static const PatternAttention strided_h1d6 = {1, 6, PATTERN_STRIDED, 50, 0, 0, 0};
static const PatternAttention both_h2d13 = {2, 13, PATTERN_LOCAL_STRIDED, 8, 0, 0, 0};
static const PatternAttention both_h1d16 = {1, 16, PATTERN_LOCAL_STRIDED, 31, 0, 0, 0};
static const PatternAttention fixed_h2d10 = {2, 10, PATTERN_FIXED, 8, 0, 2, 1};
static const PatternAttention fixed_h5d8 = {5, 8, PATTERN_FIXED, 16, 0, 3, 4};
static const PatternAttention fixed_h1d16 = {1, 16, PATTERN_FIXED, 60, 0, 12, 1};
static const PatternAttention fixed_h2d128 = {2, 128, PATTERN_FIXED, 20, 0, 1, 2};
static const PatternAttention xl_h4d32 = {4, 32, PATTERN_SEGMENTS, 128, 128, 0, 0};
static const PatternAttention xl_h8d64 = {8, 64, PATTERN_SEGMENTS, 512, 512, 0, 0};
static const PatternAttention enwik8_h4d32 = {4, 32, PATTERN_FIXED, 128, 0, 32, 1};
static const PatternAttention strided_h4d32 = {4, 32, PATTERN_LOCAL_STRIDED, 64, 0, 0, 0};
static const PatternAttention enwik8_h8d64 = {8, 64, PATTERN_FIXED, 128, 0, 32, 1};
static const PatternAttention strided_h8d64 = {8, 64, PATTERN_LOCAL_STRIDED, 128, 0, 0, 0};

static const OpCase cases[] = {
    {.name = "segments_L1H1D1", .in = {NORMAL(1, 1, 3)}, .attributes = &segments_h1d1},
    {.name = "segments_L4H1D1", .in = {NORMAL(2, 4, 3)}, .attributes = &segments_h1d1},
    {.name = "segments_L23H2D12", .in = {NORMAL(3, 23, 72)}, .attributes = &segments_h2d12},
    {.name = "segments_L61H2D9", .in = {NORMAL(2, 61, 54)}, .attributes = &segments_h2d9m5},
    {.name = "segments_L310H1D7", .in = {NORMAL(1, 310, 21)}, .attributes = &segments_h1d7},
    /* a memory longer than a segment, of its own tensor */
    {.name = "memory_L67H1D20",
     .in = {NORMAL(2, 67, 20), NORMAL(2, 67, 40), NORMAL(2, 67, 40)},
     .attributes = &segments_h1d20m23},
    {.name = "memory_L61H2D9",
     .in = {NORMAL(1, 61, 54), ABSENT, NORMAL(1, 61, 36)},
     .attributes = &segments_h2d9m5},
    {.name = "relative_L1H1D1",
     .in = {NORMAL(1, 1, 3), ABSENT, ABSENT, RELATIVE(1, 1)},
     .attributes = &segments_h1d1},
    {.name = "relative_L23H2D12",
     .in = {NORMAL(3, 23, 72), ABSENT, ABSENT, RELATIVE(9, 24)},
     .attributes = &segments_h2d12},
    {.name = "relative_L61H2D9",
     .in = {NORMAL(2, 61, 54), ABSENT, NORMAL(2, 61, 36), RELATIVE(18, 18)},
     .attributes = &segments_h2d9m5},
    {.name = "relative_L67H1D20",
     .in = {NORMAL(5, 67, 20), NORMAL(5, 67, 40), NORMAL(5, 67, 40), RELATIVE(40, 20)},
     .attributes = &segments_h1d20m23},
    {.name = "relative_L270H1D40",
     .in = {NORMAL(1, 270, 120), ABSENT, ABSENT, RELATIVE(200, 40)},
     .attributes = &segments_h1d40m100},
    {.name = "relative_L130H2D16",
     .in = {NORMAL(1, 130, 32), NORMAL(1, 130, 64), NORMAL(1, 130, 64), RELATIVE(120, 32)},
     .attributes = &segments_h2d16m70},
    {.name = "relative_L310H1D7",
     .in = {NORMAL(1, 310, 21), ABSENT, ABSENT, RELATIVE(400, 7)},
     .attributes = &segments_h1d7},
    {.name = "local_L60H2D11", .in = {NORMAL(2, 60, 66)}, .attributes = &local_h2d11},
    {.name = "local_L230H1D32", .in = {NORMAL(1, 230, 96)}, .attributes = &local_h1d32},
    {.name = "local_L9H2D5", .in = {NORMAL(2, 9, 30)}, .attributes = &local_h2d5},
    {.name = "strided_L33H2D8", .in = {NORMAL(2, 33, 48)}, .attributes = &strided_h2d8},
    {.name = "strided_L250H1D24", .in = {NORMAL(1, 250, 72)}, .attributes = &strided_h1d24},
    {.name = "strided_L41H1D6", .in = {NORMAL(2, 41, 18)}, .attributes = &strided_h1d6},
    {.name = "local_strided_L59H2D13", .in = {NORMAL(2, 59, 78)}, .attributes = &both_h2d13},
    {.name = "local_strided_L200H1D16", .in = {NORMAL(1, 200, 48)}, .attributes = &both_h1d16},
    {.name = "fixed_L45H2D10", .in = {NORMAL(3, 45, 60)}, .attributes = &fixed_h2d10},
    {.name = "fixed_L71H5D8", .in = {NORMAL(2, 71, 120)}, .attributes = &fixed_h5d8},
    {.name = "fixed_L220H1D16", .in = {NORMAL(1, 220, 48)}, .attributes = &fixed_h1d16},
    {.name = "fixed_L50H2D128", .in = {NORMAL(1, 50, 768)}, .attributes = &fixed_h2d128},
    {.name = "step_segments_L18",
     .in = {NORMAL(2, 1, 18), NORMAL(2, 18, 36), ABSENT, RELATIVE(18, 18), POSITION(36)},
     .attributes = &segments_h2d9m5,
     .gradient_free = true},
    {.name = "step_local_L70",
     .in = {NORMAL(2, 1, 96), NORMAL(2, 70, 64), ABSENT, ABSENT, ABSENT, ABSENT, POSITION(171)},
     .attributes = &local_h1d32,
     .gradient_free = true},
    {.name = "step_shared_L70",
     .in = {NORMAL(2, 1, 48), NORMAL(2, 40, 32), ABSENT, ABSENT, ABSENT, ABSENT, POSITION(93)},
     .attributes = &local_h6d8,
     .gradient_free = true},
    {.name = "step_strided_L90",
     .in = {NORMAL(1, 1, 48), NORMAL(1, 90, 32), ABSENT, ABSENT, ABSENT, ABSENT, POSITION(88)},
     .attributes = &strided_h2d8,
     .gradient_free = true},
    {.name = "step_local_strided_L90",
     .in = {NORMAL(3, 1, 78), NORMAL(3, 90, 52), ABSENT, ABSENT, ABSENT, ABSENT, POSITION(61)},
     .attributes = &both_h2d13,
     .gradient_free = true},
    {.name = "step_fixed_L300",
     .in = {NORMAL(2, 1, 120), NORMAL(2, 300, 80), ABSENT, ABSENT, ABSENT, ABSENT, POSITION(299)},
     .attributes = &fixed_h5d8,
     .gradient_free = true},
    {.name = "xl_L512H4D32",
     .in = {NORMAL(2, 512, 128), NORMAL(2, 512, 256), NORMAL(2, 512, 256), RELATIVE(256, 128)},
     .attributes = &xl_h4d32,
     /* most rows are means over some 150 keys and small beside the first ones, whose rounding the
      * tensor's root mean square then measures */
     .tolerance = 2e-5,
     .benchmark = true},
    {.name = "fixed_L1024H4D32",
     .in = {NORMAL(1, 1024, 384)},
     .attributes = &enwik8_h4d32,
     .benchmark = true},
    {.name = "local_strided_L1024H4D32",
     .in = {NORMAL(1, 1024, 384)},
     .attributes = &strided_h4d32,
     .benchmark = true},
    {.name = "xl_B16L4096H8D64",
     .in = {NORMAL(16, 4096, 512), NORMAL(16, 4096, 1024), NORMAL(16, 4096, 1024),
            RELATIVE(1024, 512)},
     .attributes = &xl_h8d64,
     .gpu = true},
    {.name = "fixed_B4L12288H8D64",
     .in = {NORMAL(4, 12288, 1536)},
     .attributes = &enwik8_h8d64,
     .gpu = true},
    {.name = "local_strided_B4L12288H8D64",
     .in = {NORMAL(4, 12288, 1536)},
     .attributes = &strided_h8d64,
     .gpu = true},
};

const Op op_pattern_attention = {
    .name = "pattern_attention",
    .summary =
        "O = softmax(S / sqrt(d)) V over the keys of a pattern, S = Q K^T or with relative scores",
    .inputs = 7,
    .outputs = 1,
    .attribute_bytes = sizeof(PatternAttention),
    .needs_inputs = 0x3F,
    .needs_outputs = 0x1,
    .gradients = 0x3F,
    .multiplies = true,
    .shape = shape,
    .cost = cost,
    .scratch = scratch,
    .cpu = OP_CPU(pattern_attention),
    .reference = pattern_attention_reference,
    OP_CASES(cases),
};
