#include "engine/ops/token_shift/token_shift.h"

static void shape(Tape *tape, OpCall *call) {
    const Tensor *x = call->in[SHIFT_X], *state = call->in[SHIFT_STATE];
    const int count = token_shift_count(call);
    if (x->shape.rank != 3 || count < 1) {
        tape_fail(tape, call, "expected x (B, L, D) and one to three mixes");
        return;
    }
    const Shape before = SHAPE(extent(x, 0), extent(x, 2));
    for (int i = 0; i < count; i++)
        if (tensor_size(call->in[SHIFT_MIX + i]) != extent(x, 2))
            tape_fail(tape, call, "mixes must have %ld channels like x", (long)extent(x, 2));
    if (state && (!shape_equal(&state->shape, &before) || tape_mode(tape) == TAPE_TRAIN))
        tape_fail(tape, call, "a state must be (B, D), outside of training");
    for (int i = 0; i < count; i++) tape_output(tape, call, TENSOR_FLOAT, x->shape);
    if (state) tape_output(tape, call, TENSOR_FLOAT, before);
}

static void cost(const OpCall *call, Cost *forward, Cost *backward) {
    const double n = (double)tensor_size(call->in[SHIFT_X]);
    const double mixes = (double)token_shift_count(call);
    *forward = (Cost){.flops = 3 * n * mixes, .bytes_read = 4 * n, .bytes_written = 4 * n * mixes};
    *backward =
        (Cost){.flops = 7 * n * mixes, .bytes_read = 4 * n * (1 + mixes), .bytes_written = 4 * n};
}

static size_t scratch(const OpCall *call, int threads, Phase phase) {
    (void)threads;
    if (phase == PHASE_FORWARD) return 0;
    const int64_t rows = rows_of(call->in[SHIFT_X]), D = extent(call->in[SHIFT_X], -1);
    return (size_t)((rows + SHIFT_ROWS - 1) / SHIFT_ROWS * TOKEN_SHIFT_MIXES * D) * sizeof(float);
}

#define NORMAL(...)                                                                                \
    { .shape = SHAPE(__VA_ARGS__), .fill = FILL_NORMAL, .a = 1 }
#define NONE                                                                                       \
    { 0 }
#define ONE(B, L, D) .in = {NORMAL(B, L, D), NONE, NORMAL(D)}
#define THREE(B, L, D) .in = {NORMAL(B, L, D), NONE, NORMAL(D), NORMAL(D), NORMAL(D)}

static const OpCase cases[] = {
    {"B1L1D1", ONE(1, 1, 1)},
    {"B2L7D5", .in = {NORMAL(2, 7, 5), NONE, NORMAL(5), NORMAL(5)}, .seeds = 3u},
    {"B3L37D33", THREE(3, 37, 33), .seeds = 7u},
    {"B2L259D18", THREE(2, 259, 18), .seeds = 7u},
    {"step-D19", .in = {NORMAL(2, 1, 19), NORMAL(2, 19), NORMAL(19), NORMAL(19)},
     .gradient_free = true},
    {"carried-L5", .in = {NORMAL(2, 5, 3), NORMAL(2, 3), NORMAL(3)}, .gradient_free = true},
    {"B4L256D128", THREE(4, 256, 128), .benchmark = true},
    {"B8L1024D1024", THREE(8, 1024, 1024), .gpu = true},
};

OP_CPU_DECLARE(token_shift);
void token_shift_reference(const ReferenceCall *call);

const Op op_token_shift = {
    .name = "token_shift",
    .summary = "y_i[t] = mix_i x[t] + (1 - mix_i) x[t-1]",
    .inputs = SHIFT_INPUTS,
    .outputs = TOKEN_SHIFT_MIXES + 1,
    .needs_inputs = (1u << SHIFT_INPUTS) - 1u - (1u << SHIFT_STATE),
    .gradients = (1u << SHIFT_INPUTS) - 1u - (1u << SHIFT_STATE),
    .shape = shape,
    .cost = cost,
    .scratch = scratch,
    .cpu = OP_CPU(token_shift),
    .reference = token_shift_reference,
    OP_CASES(cases),
};

void token_shift(Tape *tape, Tensor *x, Tensor *const *mix, int count, Tensor *state, Tensor **y,
                 Tensor **next) {
    Tensor *in[SHIFT_INPUTS] = {[SHIFT_X] = x, [SHIFT_STATE] = state};
    for (int i = 0; i < count; i++) in[SHIFT_MIX + i] = mix[i];
    const OpCall *call = tape_apply(tape, &op_token_shift, in, SHIFT_INPUTS, NULL);
    for (int i = 0; i < count; i++) y[i] = call->out[i];
    if (next) *next = state ? call->out[count] : NULL;
}
