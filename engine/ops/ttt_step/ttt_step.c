#include "engine/ops/ttt_step/ttt_step.h"

#include "engine/ops/ttt_step/ttt_step_plan.h"

static void shape(Tape *tape, OpCall *call) {
    if (!ttt_check(tape, call, call->in)) return;
    const TttPlan plan = ttt_plan(call->in, call->attributes);
    const Tensor *state = call->in[TTT_STEP_STATE], *position = call->in[TTT_STEP_POSITION];
    if (plan.L != 1 || !shape_equal(&state->shape, &SHAPE(plan.B, plan.H, 2 * plan.P)))
        tape_fail(tape, call, "expected one token and a state (B, H, %lld)",
                  (long long)(2 * plan.P));
    if (!position || position->type != TENSOR_INTEGER || tensor_size(position) != 1)
        tape_fail(tape, call, "position must be one integer");
    tape_output(tape, call, TENSOR_FLOAT, state->shape);
    tape_output(tape, call, TENSOR_FLOAT, call->in[TTT_Q]->shape);
    call->shares = 1 + TTT_STEP_STATE;
}

static void cost(const OpCall *call, Cost *forward, Cost *backward) {
    const TttPlan plan = ttt_plan(call->in, call->attributes);
    const double heads = (double)(plan.B * plan.H), P = (double)plan.P;
    const double hidden = plan.layers > 1 ? (double)plan.out[0] : 0;
    /* A weight: both parts of its value (3), key and query (4), its gradient and step (2). */
    *forward = (Cost){.flops = heads * 9 * P,
                      .specials = heads * 6 * hidden,
                      .bytes_read = 4 * (2 * heads + (double)plan.H) * P,
                      .bytes_written = 4 * heads * P};
    *backward = (Cost){0};
}

static size_t scratch(const OpCall *call, int threads, Phase phase) {
    (void)phase;
    const TttPlan plan = ttt_plan(call->in, call->attributes);
    return (size_t)(threads * ttt_step_floats(&plan)) * sizeof(float);
}

#define NORMAL(deviation, ...)                                                                     \
    { .shape = SHAPE(__VA_ARGS__), .fill = FILL_NORMAL, .a = (deviation) }
#define BETWEEN(from, to, ...)                                                                     \
    { .shape = SHAPE(__VA_ARGS__), .fill = FILL_UNIFORM, .a = (from), .b = (to) }
#define COMMON(B, H, f, b)                                                                         \
    NORMAL(1, B, 1, (H) * (f)), NORMAL(1, B, 1, (H) * (f)), NORMAL(1, B, 1, (H) * (f)),            \
        BETWEEN(0, 1, B, 1, H), BETWEEN(-0.2, 0.2, b), BETWEEN(0.5, 1.5, H, f), NORMAL(0.3, H, f)
#define STATE(place, ...)                                                                          \
    NORMAL(0.1, __VA_ARGS__), {                                                                    \
        .shape = SHAPE(1), .fill = FILL_COUNT, .a = (place)                                        \
    }
#define ONE(B, H, f, b, place)                                                                     \
    COMMON(B, H, f, b), NORMAL(0.3, H, f, f), NORMAL(0.3, H, f), {0}, {0},                         \
        STATE(place, B, H, 2 * ((f) * (f) + (f)))
#define TWO(B, H, f, b, h, place)                                                                  \
    COMMON(B, H, f, b), NORMAL(0.3, H, f, h), NORMAL(0.3, H, h), NORMAL(0.3, H, h, f),             \
        NORMAL(0.3, H, f), STATE(place, B, H, 2 * (2 * (f) * (h) + (h) + (f)))
#define STEP(base) .attributes = &(const Ttt){base}, .gradient_free = true

static const OpCase cases[] = {
    {.name = "first_B1H1f5b1", .in = {ONE(1, 1, 5, 1, 0)}, STEP(1)},
    {.name = "B2H3f6b5", .in = {ONE(2, 3, 6, 5, 12)}, STEP(1)},
    {.name = "last_B2H1f17b16", .in = {ONE(2, 1, 17, 16, 31)}, STEP(1)},
    {.name = "last_B1H2f34b4", .in = {ONE(1, 2, 34, 4, 1003)}, STEP(1)},
    {.name = "two_B1H1f5b1h3", .in = {TWO(1, 1, 5, 1, 3, 0)}, STEP(1)},
    {.name = "two_B2H3f6b5h24", .in = {TWO(2, 3, 6, 5, 24, 7)}, STEP(0.3)},
    {.name = "two_last_B3H1f17b16h35", .in = {TWO(3, 1, 17, 16, 35, 47)}, STEP(0.1)},
    {.name = "H4f64", .in = {ONE(1, 4, 64, 16, 5)}, STEP(1), .benchmark = true},
    {.name = "two_H4f64", .in = {TWO(1, 4, 64, 16, 256, 5)}, STEP(0.1), .benchmark = true},
};

OP_CPU_DECLARE(ttt_step);
void ttt_step_reference(const ReferenceCall *call);

const Op op_ttt_step = {
    .name = "ttt_step",
    .summary = "one token of ttt, in place",
    .inputs = TTT_STEP_INPUTS,
    .outputs = 2,
    .attribute_bytes = sizeof(Ttt),
    .shape = shape,
    .cost = cost,
    .scratch = scratch,
    .cpu = OP_CPU(ttt_step),
    .reference = ttt_step_reference,
    OP_CASES(cases),
};

int64_t ttt_state_floats(const TttInputs *inputs) {
    int64_t P = extent(inputs->W1, 1) * extent(inputs->W1, 2) + extent(inputs->c1, 1);
    if (inputs->W2) P += extent(inputs->W2, 1) * extent(inputs->W2, 2) + extent(inputs->c2, 1);
    return 2 * P;
}

Tensor *ttt_step(Tape *tape, const TttInputs *inputs, Tensor *state, Tensor *position,
                 Tensor **next) {
    Tensor *in[TTT_STEP_INPUTS];
    ttt_order(inputs, in);
    in[TTT_STEP_STATE] = state;
    in[TTT_STEP_POSITION] = position;
    const Ttt attributes = {inputs->base};
    const OpCall *call = tape_apply(tape, &op_ttt_step, in, TTT_STEP_INPUTS, &attributes);
    *next = call->out[0];
    return call->out[1];
}
