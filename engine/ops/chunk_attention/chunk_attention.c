#include "engine/ops/chunk_attention/chunk_attention.h"

#include "engine/ops/chunk_attention/chunk_attention_plan.h"

static bool holds(const Tensor *tensor, int64_t size) {
    return !tensor || tensor_size(tensor) == size;
}

static void shape(Tape *tape, OpCall *call) {
    const ChunkAttention *a = call->attributes;
    const Tensor *q = call->in[CHUNK_Q], *k = call->in[CHUNK_K], *v = call->in[CHUNK_V];
    const Tensor *lengths = call->in[CHUNK_LENGTHS];
    if (q->shape.rank != 3 || k->shape.rank != 3 || v->shape.rank != 3 || a->chunk < 1) {
        tape_fail(tape, call, "expected q, k (B, L, Z) and v (B, L, H), and chunks of 1 or more");
        return;
    }
    const ChunkView view = chunk_view(call);
    if (extent(k, 0) != view.B || extent(v, 0) != view.B || extent(v, 1) != view.keys ||
        extent(k, 2) != view.Z || (!view.step && view.keys != view.L)) {
        tape_fail(tape, call, "keys (%lld, %lld, %lld) and values do not fit the queries",
                  (long long)extent(k, 0), (long long)view.keys, (long long)extent(k, 2));
        return;
    }
    if (!holds(call->in[CHUNK_BEHIND], view.size) ||
        !holds(call->in[CHUNK_AHEAD], view.size - a->ahead_from))
        tape_fail(tape, call, "expected %lld biases of keys behind and %lld of keys ahead",
                  (long long)view.size, (long long)(view.size - a->ahead_from));
    if (lengths && (lengths->type != TENSOR_INTEGER || tensor_size(lengths) != view.B))
        tape_fail(tape, call, "lengths must be %lld integers, one a sequence", (long long)view.B);
    if (view.step && (view.L != 1 || lengths || tape_mode(tape) == TAPE_TRAIN))
        tape_fail(tape, call, "a position is for one query over rings, outside of training");
    tape_output(tape, call, TENSOR_FLOAT, SHAPE(view.B, view.L, view.H));
}

/* Two products of widths Z and H forward; backward the first again, one for each gradient and that
 * of the weights. */
static void cost(const OpCall *call, Cost *forward, Cost *backward) {
    const ChunkView view = chunk_view(call);
    const double B = (double)view.B, n = (double)view.size, Z = (double)view.Z, H = (double)view.H;
    const double rest = (double)(view.L % view.size), whole = (double)(view.L / view.size);
    double pairs = whole * n * n + rest * rest;
    if (view.causal) pairs = whole * n * (n + 1) / 2 + rest * (rest + 1) / 2;
    if (view.step) pairs = n;
    const double tokens = 4 * B * (double)view.L, keys = 4 * B * (double)view.keys;
    *forward = (Cost){.flops = B * pairs * (2 * Z + 2 * H + 4),
                      .specials = B * pairs,
                      .bytes_read = tokens * Z + keys * (Z + H),
                      .bytes_written = tokens * H};
    *backward = (Cost){.flops = B * pairs * (6 * Z + 4 * H + 8),
                       .specials = B * pairs,
                       .bytes_read = tokens * (2 * Z + 2 * H),
                       .bytes_written = tokens * (2 * Z + H)};
}

static size_t scratch(const OpCall *call, int threads, Phase phase) {
    const ChunkView view = chunk_view(call);
    const int64_t tables = phase == PHASE_FORWARD ? 1 : 1 + view.units;
    return (size_t)(tables * chunk_bias_floats(&view) +
                    threads * chunk_thread_floats(&view, phase)) *
           sizeof(float);
}

Tensor *chunk_attention(Tape *tape, Tensor *q, Tensor *k, Tensor *v, Tensor *behind, Tensor *ahead,
                        Tensor *lengths, const ChunkAttention *attributes) {
    Tensor *in[] = {q, k, v, behind, ahead, lengths};
    return tape_apply(tape, &op_chunk_attention, in, CHUNK_LENGTHS + 1, attributes)->out[0];
}

Tensor *chunk_attention_step(Tape *tape, Tensor *q, Tensor *keys, Tensor *values, Tensor *behind,
                             Tensor *position, const ChunkAttention *attributes) {
    Tensor *in[CHUNK_INPUTS] = {q, keys, values, behind, NULL, NULL, position};
    return tape_apply(tape, &op_chunk_attention, in, CHUNK_INPUTS, attributes)->out[0];
}

#define NORMAL(...)                                                                                \
    { SHAPE(__VA_ARGS__), FILL_NORMAL, 1, 0 }
#define QKV(B, L, Z, H) NORMAL(B, L, Z), NORMAL(B, L, Z), NORMAL(B, L, H)
#define NONE                                                                                       \
    { {0}, FILL_NONE, 0, 0 }
#define LENGTHS(B, least, most)                                                                    \
    { SHAPE(B), FILL_INTEGER, least, most }
#define OF(C, from, kind, order)                                                                   \
    .attributes = &(const ChunkAttention) {                                                        \
        .chunk = C, .ahead_from = from, .function = ATTENTION_##kind, .causal = order              \
    }

static const OpCase cases[] = {
    {.name = "L1Z1H1", .in = {QKV(1, 1, 1, 1), NORMAL(1)}, OF(4, 1, SOFTMAX, true)},
    {.name = "L7Z3H5softmax",
     .in = {QKV(2, 7, 3, 5), NORMAL(3), NORMAL(2)},
     OF(3, 1, SOFTMAX, false)},
    {.name = "L23Z8H17causal", .in = {QKV(2, 23, 8, 17), NORMAL(10)}, OF(10, 1, SOFTMAX, true)},
    {.name = "L67Z17H33laplace",
     .in = {QKV(1, 67, 17, 33), NORMAL(67), NORMAL(67)},
     OF(100, 0, LAPLACE, false)},
    {.name = "L70Z16H20causal_laplace",
     .in = {QKV(2, 70, 16, 20), NORMAL(32)},
     OF(32, 1, LAPLACE, true)},
    {.name = "L29Z5H7relu2",
     .in = {QKV(3, 29, 5, 7), NORMAL(13), NORMAL(12)},
     OF(13, 1, SQUARED_RELU, false)},
    {.name = "L40Z6H9causal_relu2", .in = {QKV(1, 40, 6, 9)}, OF(20, 1, SQUARED_RELU, true)},
    {.name = "L37Z7H11padded",
     .in = {QKV(4, 37, 7, 11), NORMAL(16), NORMAL(15), LENGTHS(4, 0, 38)},
     OF(16, 1, SOFTMAX, false)},
    {.name = "L41Z9H6padded_laplace",
     .in = {QKV(3, 41, 9, 6), NORMAL(41), NORMAL(40), LENGTHS(3, 0, 42)},
     OF(41, 1, LAPLACE, false)},
    {.name = "L150Z20H40",
     .in = {QKV(1, 150, 20, 40), NORMAL(150), NORMAL(149)},
     OF(150, 1, SOFTMAX, false)},
    {.name = "step_L9Z5H7softmax",
     .in = {NORMAL(2, 1, 5),
            NORMAL(2, 9, 5),
            NORMAL(2, 9, 7),
            NORMAL(9),
            NONE,
            NONE,
            {SHAPE(1), FILL_COUNT, 14, 0}},
     OF(9, 1, SOFTMAX, true),
     .gradient_free = true},
    {.name = "step_L40Z17H33laplace",
     .in = {NORMAL(3, 1, 17),
            NORMAL(3, 40, 17),
            NORMAL(3, 40, 33),
            NORMAL(40),
            NONE,
            NONE,
            {SHAPE(1), FILL_COUNT, 39, 0}},
     OF(40, 1, LAPLACE, true),
     .gradient_free = true},
    /* Chunks of 128 with the widths of the published models on images; enwik8's, shorter. */
    {.name = "B8L1024Z96H320C128laplace",
     .in = {QKV(8, 1024, 96, 320), NORMAL(128), NORMAL(127)},
     OF(128, 1, LAPLACE, false),
     .benchmark = true},
    {.name = "B1L2048Z128H1024C1024causal",
     .in = {QKV(1, 2048, 128, 1024), NORMAL(1024)},
     OF(1024, 1, SOFTMAX, true),
     .benchmark = true},
    {.name = "B64L1024Z96H320C1024laplace",
     .in = {QKV(64, 1024, 96, 320), NORMAL(1024), NORMAL(1023)},
     OF(1024, 1, LAPLACE, false),
     .gpu = true},
};

OP_CPU_DECLARE(chunk_attention);

const Op op_chunk_attention = {
    .name = "chunk_attention",
    .summary = "O = f(s Q K^T + bias of distances) V inside chunks",
    .inputs = CHUNK_INPUTS,
    .outputs = 1,
    .attribute_bytes = sizeof(ChunkAttention),
    .needs_inputs = 1u << CHUNK_Q | 1u << CHUNK_K | 1u << CHUNK_V | 1u << CHUNK_BEHIND |
                    1u << CHUNK_AHEAD | 1u << CHUNK_LENGTHS,
    .gradients =
        1u << CHUNK_Q | 1u << CHUNK_K | 1u << CHUNK_V | 1u << CHUNK_BEHIND | 1u << CHUNK_AHEAD,
    .shape = shape,
    .cost = cost,
    .scratch = scratch,
    .cpu = OP_CPU(chunk_attention),
    .reference = chunk_attention_reference,
    OP_CASES(cases),
};
