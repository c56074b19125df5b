#include "engine/ops/ttt/ttt.h"

#include "engine/ops/ttt/ttt_work.h"

static bool require(Tape *tape, const OpCall *call, const Tensor *tensor, Shape shape,
                    const char *text) {
    if (!tensor || shape_equal(&tensor->shape, &shape)) return true;
    tape_fail(tape, call, "%s must be %s", tensor->name, text);
    return false;
}

bool ttt_check(Tape *tape, const OpCall *call, Tensor *const *in) {
    const Tensor *q = in[TTT_Q], *gamma = in[TTT_GAMMA], *index = in[TTT_INDEX];
    if (q->shape.rank != 3 || gamma->shape.rank != 2 || index->shape.rank != 1 ||
        in[TTT_W1]->shape.rank != 3 || tensor_size(gamma) != extent(q, 2)) {
        tape_fail(tape, call, "expected q (B, L, H f), gamma (H, f), index (b) and W1 (H, f, ...)");
        return false;
    }
    if (extent(index, 0) > TTT_LONGEST) {
        tape_fail(tape, call, "mini-batches of %lld tokens: at most %d are possible",
                  (long long)extent(index, 0), TTT_LONGEST);
        return false;
    }
    const int64_t B = extent(q, 0), L = extent(q, 1), H = extent(gamma, 0), f = extent(gamma, 1);
    const int64_t h = in[TTT_W2] ? extent(in[TTT_W1], 2) : f;
    return require(tape, call, in[TTT_K], q->shape, "(B, L, H f) like q") &&
           require(tape, call, in[TTT_V], q->shape, "(B, L, H f) like q") &&
           require(tape, call, in[TTT_RATE], SHAPE(B, L, H), "(B, L, H)") &&
           require(tape, call, in[TTT_BETA], SHAPE(H, f), "(H, f)") &&
           require(tape, call, in[TTT_W1], SHAPE(H, f, h), "(H, f, f), or (H, f, h) before W2") &&
           require(tape, call, in[TTT_C1], SHAPE(H, h), "(H, outputs of W1)") &&
           require(tape, call, in[TTT_W2], SHAPE(H, h, f), "(H, outputs of W1, f)") &&
           require(tape, call, in[TTT_C2], SHAPE(H, f), "(H, f)");
}

static void shape(Tape *tape, OpCall *call) {
    if (!ttt_check(tape, call, call->in)) return;
    tape_output(tape, call, TENSOR_FLOAT, call->in[TTT_Q]->shape);
    if (tape_mode(tape) != TAPE_TRAIN) return;
    const TttPlan plan = ttt_plan(call->in, call->attributes);
    if (plan.groups > 1)
        tape_saved(tape, call, TENSOR_FLOAT, SHAPE(plan.B, plan.H, plan.groups - 1, plan.P));
}

double ttt_forward_flops(const TttPlan *plan) {
    double weights = 0, tokens = 0;
    for (int64_t l = 0; l < plan->layers; l++) {
        const double in = (double)plan->in[l], out = (double)plan->out[l];
        /* K W, Q W, the step of W; the second layer's gradient through W. Then the causal halves of
         * two b x b products, and what happens to each number. */
        weights += (l ? 8 : 6) * in * out;
        tokens += (double)(plan->b + 1) * (in + out) + 12 * out;
    }
    return weights + tokens + 20 * (double)plan->f;
}

static void cost(const OpCall *call, Cost *forward, Cost *backward) {
    const TttPlan plan = ttt_plan(call->in, call->attributes);
    const double tokens = (double)(plan.B * plan.L * plan.H), f = (double)plan.f;
    const double hidden = plan.layers > 1 ? (double)plan.out[0] : 0;
    const double kept = 4 * (double)(plan.B * plan.H * (plan.groups - 1) * plan.P);
    const double flops = ttt_forward_flops(&plan);
    *forward = (Cost){.flops = tokens * flops,
                      .specials = tokens * (6 * hidden + 4),
                      .bytes_read = tokens * 4 * (3 * f + 1),
                      .bytes_written = tokens * 4 * f + kept};
    /* Forward once more and its adjoint, two products for one. */
    *backward = (Cost){.flops = 3 * tokens * flops,
                       .specials = tokens * (12 * hidden + 4),
                       .bytes_read = tokens * 4 * (4 * f + 1) + kept,
                       .bytes_written = tokens * 4 * (3 * f + 1)};
}

static size_t scratch(const OpCall *call, int threads, Phase phase) {
    const TttPlan plan = ttt_plan(call->in, call->attributes);
    int64_t floats = threads * ttt_work_floats(&plan, phase, TTT_LINE);
    if (phase == PHASE_BACKWARD) floats += ttt_parts(&plan) * plan.H * ttt_part_floats(&plan);
    return (size_t)floats * sizeof(float);
}

#define NORMAL(deviation, ...)                                                                     \
    { .shape = SHAPE(__VA_ARGS__), .fill = FILL_NORMAL, .a = (deviation) }
#define BETWEEN(from, to, ...)                                                                     \
    { .shape = SHAPE(__VA_ARGS__), .fill = FILL_UNIFORM, .a = (from), .b = (to) }
#define COMMON(B, L, H, f, b)                                                                      \
    NORMAL(1, B, L, (H) * (f)), NORMAL(1, B, L, (H) * (f)), NORMAL(1, B, L, (H) * (f)),            \
        BETWEEN(0, 1, B, L, H), BETWEEN(-0.2, 0.2, b), BETWEEN(0.5, 1.5, H, f), NORMAL(0.3, H, f)
/* Weights that make z about 1: the norm's slope is 1 / z. */
#define ONE(B, L, H, f, b, w) COMMON(B, L, H, f, b), NORMAL(w, H, f, f), NORMAL(0.3, H, f)
#define TWO(B, L, H, f, b, h, w)                                                                   \
    COMMON(B, L, H, f, b), NORMAL(w, H, f, h), NORMAL(0.3, H, h), NORMAL(w, H, h, f),              \
        NORMAL(0.3, H, f)
#define BASE(value)                                                                                \
    .attributes = &(const Ttt) {                                                                   \
        value                                                                                      \
    }

static const OpCase cases[] = {
    {"B1L1H1f5b1", .in = {ONE(1, 1, 1, 5, 1, 0.5)}, BASE(1)},
    {"B2L15H2f6b5", .in = {ONE(2, 15, 2, 6, 5, 0.4)}, BASE(1)},
    {"B3L37H1f17b16", .in = {ONE(3, 37, 1, 17, 16, 0.25)}, BASE(1)},
    {"B1L20H3f8b1", .in = {ONE(1, 20, 3, 8, 1, 0.35)}, BASE(1)},
    {"B2L83H1f10b19", .in = {ONE(2, 83, 1, 10, 19, 0.3)}, BASE(1)},
    /* Two groups and a bit; three heads whose sequences make more parts than one. */
    {"B2L135H3f16b16", .in = {ONE(2, 135, 3, 16, 16, 0.25)}, BASE(1)},
    {"B35L5H1f4b2", .in = {ONE(35, 5, 1, 4, 2, 0.5)}, BASE(1)},
    {"two_B1L1H1f5b1h3", .in = {TWO(1, 1, 1, 5, 1, 3, 0.5)}, BASE(1)},
    {"two_B2L15H2f6b5h24", .in = {TWO(2, 15, 2, 6, 5, 24, 0.3)}, BASE(0.3)},
    {"two_B1L37H1f17b16h35", .in = {TWO(1, 37, 1, 17, 16, 35, 0.25)}, BASE(0.1)},
    {"two_B2L75H1f8b16h32", .in = {TWO(2, 75, 1, 8, 16, 32, 0.3)}, BASE(0.1)},
    {"d64", .in = {ONE(16, 64, 1, 64, 16, 0.125)}, BASE(1), .benchmark = true},
    {"d256", .in = {ONE(16, 512, 4, 64, 16, 0.125)}, BASE(1), .benchmark = true},
    {"two_d64", .in = {TWO(16, 64, 1, 64, 16, 256, 0.1)}, BASE(0.1), .benchmark = true},
    {"two_d256", .in = {TWO(2, 512, 4, 64, 16, 256, 0.1)}, BASE(0.1), .benchmark = true},
    {"B8L2048H16f64", .in = {ONE(8, 2048, 16, 64, 16, 0.125)}, BASE(1), .gpu = true},
    {"two_B8L2048H16f64", .in = {TWO(8, 2048, 16, 64, 16, 256, 0.1)}, BASE(0.1), .gpu = true},
};

OP_CPU_DECLARE(ttt);
void ttt_reference(const ReferenceCall *call);

const Op op_ttt = {
    .name = "ttt",
    .summary = "W = W - tau sum rate dl(W; k, v)/dW; y = q + norm(q W), by mini-batches",
    .inputs = TTT_INPUTS,
    .outputs = 1,
    .attribute_bytes = sizeof(Ttt),
    .needs_inputs = (1u << TTT_INPUTS) - 1u,
    .gradients = (1u << TTT_INPUTS) - 1u,
    .shape = shape,
    .cost = cost,
    .scratch = scratch,
    .cpu = OP_CPU(ttt),
    .reference = ttt_reference,
    OP_CASES(cases),
};

void ttt_order(const TttInputs *inputs, Tensor **in) {
    in[TTT_Q] = inputs->q;
    in[TTT_K] = inputs->k;
    in[TTT_V] = inputs->v;
    in[TTT_RATE] = inputs->rate;
    in[TTT_INDEX] = inputs->index;
    in[TTT_GAMMA] = inputs->gamma;
    in[TTT_BETA] = inputs->beta;
    in[TTT_W1] = inputs->W1;
    in[TTT_C1] = inputs->c1;
    in[TTT_W2] = inputs->W2;
    in[TTT_C2] = inputs->c2;
}

Tensor *ttt(Tape *tape, const TttInputs *inputs) {
    Tensor *in[TTT_INPUTS];
    ttt_order(inputs, in);
    const Ttt attributes = {inputs->base};
    return tape_apply(tape, &op_ttt, in, TTT_INPUTS, &attributes)->out[0];
}
