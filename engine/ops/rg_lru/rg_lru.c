#include "engine/ops/rg_lru/rg_lru.h"

#include "engine/ops/rg_lru/rg_lru_plan.h"

static void shape(Tape *tape, OpCall *call) {
    const Tensor *x = call->in[RG_LRU_X], *state = call->in[RG_LRU_STATE];
    const Tensor *position = call->in[RG_LRU_POSITION];
    bool fits = x->shape.rank == 3 && shape_equal(&x->shape, &call->in[RG_LRU_RECURRENCE]->shape) &&
                shape_equal(&x->shape, &call->in[RG_LRU_INPUT]->shape);
    for (int i = RG_LRU_RECURRENCE_BIAS; i <= RG_LRU_LAMBDA; i++)
        fits = fits && call->in[i]->shape.rank == 1 && tensor_size(call->in[i]) == extent(x, 2);
    if (!fits) {
        tape_fail(tape, call, "expected x and both gates (B, L, E), biases and lambda (E)");
        return;
    }
    const Shape before = SHAPE(extent(x, 0), 1, extent(x, 2));
    if (!state != !position ||
        (state && (!shape_equal(&state->shape, &before) || position->type != TENSOR_INTEGER ||
                   tensor_size(position) != 1 || tape_mode(tape) == TAPE_TRAIN)))
        tape_fail(tape, call,
                  "a state must be (B, 1, E) with one integer position, outside of "
                  "training");
    tape_output(tape, call, TENSOR_FLOAT, x->shape);
}

/* A sigmoid is an exponential and a quotient; a's exponential and a root. */
static void cost(const OpCall *call, Cost *forward, Cost *backward) {
    const double n = (double)tensor_size(call->in[RG_LRU_X]);
    *forward =
        (Cost){.flops = 13 * n, .specials = 6 * n, .bytes_read = 12 * n, .bytes_written = 4 * n};
    *backward =
        (Cost){.flops = 36 * n, .specials = 6 * n, .bytes_read = 20 * n, .bytes_written = 12 * n};
}

/* The sums of each sequence. */
static size_t scratch(const OpCall *call, int threads, Phase phase) {
    (void)threads;
    const Tensor *x = call->in[RG_LRU_X];
    return phase == PHASE_BACKWARD
               ? (size_t)(RG_LRU_SUMS * extent(x, 0) * extent(x, 2)) * sizeof(float)
               : 0;
}

#define NORMAL(...)                                                                                \
    { .shape = SHAPE(__VA_ARGS__), .fill = FILL_NORMAL, .a = 1 }
#define BETWEEN(from, to, ...)                                                                     \
    { .shape = SHAPE(__VA_ARGS__), .fill = FILL_UNIFORM, .a = (from), .b = (to) }
#define POSITION(t)                                                                                \
    { .shape = SHAPE(1), .fill = FILL_COUNT, .a = t }
/* lambda as it begins, for the eighth roots 0.9 to 0.999 of a token's decay at an open gate. */
#define INPUTS(B, L, E)                                                                            \
    NORMAL(B, L, E), NORMAL(B, L, E), NORMAL(B, L, E), NORMAL(E), NORMAL(E), BETWEEN(-6.9, -2.2, E)

static const OpCase cases[] = {
    {"B1L1E1", .in = {INPUTS(1, 1, 1)}},
    {"B2L9E3", .in = {INPUTS(2, 9, 3)}},
    {"B3L37E17", .in = {INPUTS(3, 37, 17)}},
    {"B2L64E70", .in = {INPUTS(2, 64, 70)}},
    {"B1L131E130", .in = {INPUTS(1, 131, 130)}},
    {"B2L33E5fast", .in = {NORMAL(2, 33, 5), NORMAL(2, 33, 5), NORMAL(2, 33, 5), NORMAL(5),
                           NORMAL(5), BETWEEN(-3, 3, 5)}},
    {"begins-E19", .in = {INPUTS(2, 1, 19), NORMAL(2, 1, 19), POSITION(0)}, .gradient_free = true},
    {"step-E19", .in = {INPUTS(2, 1, 19), NORMAL(2, 1, 19), POSITION(7)}, .gradient_free = true},
    {"carried-L40", .in = {INPUTS(2, 40, 5), NORMAL(2, 1, 5), POSITION(40)}, .gradient_free = true},
    {"L128-E256", .in = {INPUTS(2, 128, 256)}, .benchmark = true},
    {"L1024-E176", .in = {INPUTS(8, 1024, 176)}, .benchmark = true},
    {"B8L2048E1408", .in = {INPUTS(8, 2048, 1408)}, .gpu = true},
};

OP_CPU_DECLARE(rg_lru);
void rg_lru_reference(const ReferenceCall *call);

const Op op_rg_lru = {
    .name = "rg_lru",
    .summary = "h = a h + sqrt(1 - a^2) (i x); log a = -8 r softplus(lambda); r, i: sigmoids",
    .inputs = RG_LRU_INPUTS,
    .outputs = 1,
    .needs_inputs = (1u << RG_LRU_STATE) - 1u,
    .needs_outputs = 1u,
    .gradients = (1u << RG_LRU_STATE) - 1u,
    .shape = shape,
    .cost = cost,
    .scratch = scratch,
    .cpu = OP_CPU(rg_lru),
    .reference = rg_lru_reference,
    OP_CASES(cases),
};

Tensor *rg_lru(Tape *tape, const RgLru *inputs) {
    Tensor *in[RG_LRU_INPUTS] = {[RG_LRU_X] = inputs->x,
                                 [RG_LRU_RECURRENCE] = inputs->recurrence,
                                 [RG_LRU_INPUT] = inputs->input,
                                 [RG_LRU_RECURRENCE_BIAS] = inputs->recurrence_bias,
                                 [RG_LRU_INPUT_BIAS] = inputs->input_bias,
                                 [RG_LRU_LAMBDA] = inputs->lambda,
                                 [RG_LRU_STATE] = inputs->state,
                                 [RG_LRU_POSITION] = inputs->position};
    return tape_apply(tape, &op_rg_lru, in, RG_LRU_INPUTS, NULL)->out[0];
}
