#include "engine/ops/lstm/lstm.h"

#include "engine/ops/lstm/lstm_plan.h"

static void shape(Tape *tape, OpCall *call) {
    const Tensor *gates = call->in[LSTM_GATES], *w = call->in[LSTM_W], *h0 = call->in[LSTM_H0],
                 *c0 = call->in[LSTM_C0];
    if (gates->shape.rank != 3 || w->shape.rank != 2 || extent(w, 1) != 4 * extent(w, 0) ||
        extent(gates, 2) != extent(w, 1)) {
        tape_fail(tape, call,
                  "the input gates must be (B, L, 4H) and the recurrent weights (H, 4H)");
        return;
    }
    const int64_t B = extent(gates, 0), L = extent(gates, 1), H = extent(w, 0);
    const Shape state = SHAPE(B, H);
    if (!h0 != !c0) tape_fail(tape, call, "give both h0 and c0 or neither");
    if ((h0 && !shape_equal(&h0->shape, &state)) || (c0 && !shape_equal(&c0->shape, &state)))
        tape_fail(tape, call, "h0 and c0 must be (B, H) = (%lld, %lld)", (long long)B,
                  (long long)H);
    tape_output(tape, call, TENSOR_FLOAT, SHAPE(B, L, H));
    if (h0) {
        tape_output(tape, call, TENSOR_FLOAT, state);
        tape_output(tape, call, TENSOR_FLOAT, state);
    }
    if (tape_mode(tape) != TAPE_TRAIN) return;
    tape_saved(tape, call, TENSOR_FLOAT, SHAPE(L, B, 4 * H));
    tape_saved(tape, call, TENSOR_FLOAT, SHAPE(L, B, H));
}

static void cost(const OpCall *call, Cost *forward, Cost *backward) {
    const double H = (double)extent(call->in[LSTM_W], 0);
    const double units = (double)tensor_size(call->out[LSTM_H]); /* B L H */
    *forward = (Cost){.flops = units * (8 * H + 8),
                      .specials = units * 10, /* five sigmoids or tanhs: exponential, division */
                      .bytes_read = 4 * units * 4,
                      .bytes_written = 4 * units * 6};
    *backward = (Cost){.flops = units * (16 * H + 24),
                       .specials = units * 2,
                       .bytes_read = 4 * units * 7,
                       .bytes_written = 4 * units * 4};
}

static size_t scratch(const OpCall *call, int threads, Phase phase) {
    const Plan plan = lstm_plan(call, phase, threads);
    size_t bytes = (size_t)plan.floats * sizeof(float);
    if (phase == PHASE_BACKWARD)
        bytes += gemm_workspace(GEMM_TN, plan.H, 4 * plan.H, plan.steps * plan.B, threads);
    return bytes;
}

#define NORMAL(...)                                                                                \
    { .shape = SHAPE(__VA_ARGS__), .fill = FILL_NORMAL, .a = 1 }
#define WEIGHTS(H)                                                                                 \
    { .shape = SHAPE(H, 4 * H), .fill = FILL_NORMAL, .a = 0.25 }
static const OpCase cases[] = {
    {"B1L1H1", .in = {NORMAL(1, 1, 4), WEIGHTS(1)}},
    {"B2L5H3", .in = {NORMAL(2, 5, 12), WEIGHTS(3)}},
    {"B7L13H17", .in = {NORMAL(7, 13, 68), WEIGHTS(17)}},
    {"B17L9H32", .in = {NORMAL(17, 9, 128), WEIGHTS(32)}},
    {"B1L300H5", .in = {NORMAL(1, 300, 20), WEIGHTS(5)}},
    {"B260L2H2", .in = {NORMAL(260, 2, 8), WEIGHTS(2)}},
    {"B3L4H83",
     .in = {NORMAL(3, 4, 332), {.shape = SHAPE(83, 332), .fill = FILL_NORMAL, .a = 0.1}}},
    /* Four blocks of a GPU together. */
    {"B2L3H150", .in = {NORMAL(2, 3, 600),
                        {.shape = SHAPE(150, 600), .fill = FILL_NORMAL, .a = 0.1},
                        NORMAL(2, 150),
                        NORMAL(2, 150)}},
    /* All steps in one launch of blocks that meet: sequences that do not fill a tile, units that do
     * not fill the blocks; in groups of blocks, the last one with fewer sequences. */
    {"B3L4H260",
     .in = {NORMAL(3, 4, 1040), {.shape = SHAPE(260, 1040), .fill = FILL_NORMAL, .a = 0.1}}},
    {"B17L2H264", .in = {NORMAL(17, 2, 1056),
                         {.shape = SHAPE(264, 1056), .fill = FILL_NORMAL, .a = 0.1},
                         NORMAL(17, 264),
                         NORMAL(17, 264)}},
    {"B61L2H260",
     .in = {NORMAL(61, 2, 1040), {.shape = SHAPE(260, 1040), .fill = FILL_NORMAL, .a = 0.1}}},
    {"B127L2H260", /* and its ring of states has room for two chunks only */
     .in = {NORMAL(127, 2, 1040), {.shape = SHAPE(260, 1040), .fill = FILL_NORMAL, .a = 0.1}}},
    {"B1L2H260",
     .in = {NORMAL(1, 2, 1040), {.shape = SHAPE(260, 1040), .fill = FILL_NORMAL, .a = 0.1}}},
    /* Two launches for each step: one step, units in no multiple of 4. */
    {"carried-B5L1H268", .in = {NORMAL(5, 1, 1072),
                                {.shape = SHAPE(268, 1072), .fill = FILL_NORMAL, .a = 0.1},
                                NORMAL(5, 268),
                                NORMAL(5, 268)}},
    {"B2L3H258", .in = {NORMAL(2, 3, 1032),
                        {.shape = SHAPE(258, 1032), .fill = FILL_NORMAL, .a = 0.1},
                        NORMAL(2, 258),
                        NORMAL(2, 258)}},
    {"B1L2H261",
     .in = {NORMAL(1, 2, 1044), {.shape = SHAPE(261, 1044), .fill = FILL_NORMAL, .a = 0.1}}},
    {"carried-L1", .in = {NORMAL(3, 1, 20), WEIGHTS(5), NORMAL(3, 5), NORMAL(3, 5)}},
    {"carried-L9", .in = {NORMAL(2, 9, 84), WEIGHTS(21), NORMAL(2, 21), NORMAL(2, 21)}},
    {"saturated", .in = {{.shape = SHAPE(2, 6, 16), .fill = FILL_NORMAL, .a = 40}, WEIGHTS(4)}},
#define TIMED(name, B, L, H, where)                                                                \
    {                                                                                              \
        name,                                                                                      \
            {NORMAL(B, L, 4 * (H)), {.shape = SHAPE(H, 4 * (H)), .fill = FILL_NORMAL, .a = 0.05}}, \
            .where = true                                                                          \
    }
    TIMED("B32L64H128", 32, 64, 128, benchmark),
    TIMED("B16L64H64", 16, 64, 64, benchmark),
    TIMED("B16L16H256", 16, 16, 256, benchmark),
    TIMED("B16L8H512", 16, 8, 512, benchmark),
    TIMED("B1L256H128", 1, 256, 128, benchmark),
    TIMED("B64L512H512", 64, 512, 512, gpu),
    TIMED("B64L256H1024", 64, 256, 1024, gpu),
};

OP_CPU_DECLARE(lstm);
void lstm_reference(const ReferenceCall *call);

const Op op_lstm = {
    .name = "lstm",
    .summary =
        "G = gates[t] + h W; c = sigmoid(Gf) c + sigmoid(Gi) tanh(Gg); h = sigmoid(Go) tanh(c)",
    .inputs = 4,
    .outputs = 3,
    .needs_inputs = 1u << LSTM_W | 1u << LSTM_H0 | 1u << LSTM_C0,
    .needs_outputs = 1u << LSTM_H,
    .gradients = 1u << LSTM_GATES | 1u << LSTM_W | 1u << LSTM_H0 | 1u << LSTM_C0,
    .multiplies = true,
    .shape = shape,
    .cost = cost,
    .scratch = scratch,
    .cpu = OP_CPU(lstm),
    .reference = lstm_reference,
    OP_CASES(cases),
};

Tensor *lstm(Tape *tape, Tensor *gates, Tensor *w, const LstmState *state, LstmState *next) {
    Tensor *in[] = {gates, w, state ? state->h : NULL, state ? state->c : NULL};
    const OpCall *call = tape_apply(tape, &op_lstm, in, 4, NULL);
    if (next) *next = (LstmState){.h = call->out[LSTM_H_LAST], .c = call->out[LSTM_C_LAST]};
    return call->out[LSTM_H];
}
