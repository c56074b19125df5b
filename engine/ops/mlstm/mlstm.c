#include "engine/ops/mlstm/mlstm.h"

#include "engine/ops/mlstm/mlstm_plan.h"

static void shape(Tape *tape, OpCall *call) {
    const Tensor *q = call->in[MLSTM_Q], *k = call->in[MLSTM_K], *v = call->in[MLSTM_V];
    const int64_t H = ((const Mlstm *)call->attributes)->heads;
    if (q->shape.rank != 3 || v->shape.rank != 3 || !shape_equal(&q->shape, &k->shape) ||
        extent(q, 2) % H != 0 || extent(v, 2) % H != 0 || extent(v, 0) != extent(q, 0) ||
        extent(v, 1) != extent(q, 1)) {
        tape_fail(tape, call, "q and k must be (B, L, H dk) and v (B, L, H dv) with H = %lld",
                  (long long)H);
        return;
    }
    const Shape gates = SHAPE(extent(q, 0), extent(q, 1), 2 * H);
    if (!shape_equal(&call->in[MLSTM_GATES]->shape, &gates)) {
        tape_fail(tape, call, "the gates must be (B, L, 2 H) with H = %lld", (long long)H);
        return;
    }
    tape_output(tape, call, TENSOR_FLOAT, v->shape);
    if (tape_mode(tape) != TAPE_TRAIN) return;
    const MlstmPlan plan = mlstm_plan(call);
    tape_saved(tape, call, TENSOR_FLOAT, SHAPE(plan.B, H, plan.chunks, MLSTM_NOTES, MLSTM_CHUNK));
    if (plan.chunks > 1)
        tape_saved(tape, call, TENSOR_FLOAT, SHAPE(plan.B, H, plan.chunks - 1, plan.state));
}

/* The chunkwise form. Inside a chunk a token meets half of its tokens; the state is read by all
 * chunks but the first and written by all but the last. */
static void cost(const OpCall *call, Cost *forward, Cost *backward) {
    const MlstmPlan plan = mlstm_plan(call);
    const double rows = (double)(plan.B * plan.H * plan.L), dk = (double)plan.dk,
                 dv = (double)plan.dv;
    const double span = plan.L < MLSTM_CHUNK ? (double)plan.L : MLSTM_CHUNK;
    const double seen = (span + 1) / 2;
    const double crossing = plan.chunks > 1 ? (double)(plan.L - MLSTM_CHUNK) / (double)plan.L : 0;
    const double states = (double)(plan.B * plan.H * (plan.chunks - 1) * plan.state);
    *forward = (Cost){.flops = rows * (2 * seen * (dk + dv + 2) + 4 * crossing * dk * (dv + 1)),
                      .specials = rows * (seen + 8),
                      .bytes_read = 4 * rows * (2 * dk + dv + 2),
                      .bytes_written = 4 * (rows * (dv + MLSTM_NOTES) + states)};
    *backward =
        (Cost){.flops = rows * (2 * seen * (3 * dk + 2 * dv + 2) + 8 * crossing * dk * (dv + 1)),
               .specials = rows * (seen + 4),
               .bytes_read = 4 * (rows * (2 * dk + 3 * dv + 2 + MLSTM_NOTES) + states),
               .bytes_written = 4 * rows * (2 * dk + dv + 2)};
}

static size_t scratch(const OpCall *call, int threads, Phase phase) {
    const MlstmPlan plan = mlstm_plan(call);
    return (size_t)threads *
           ((size_t)mlstm_thread_floats(&plan, phase) * sizeof(float) + mlstm_workspace(&plan));
}

#define NORMAL(...)                                                                                \
    { .shape = SHAPE(__VA_ARGS__), .fill = FILL_NORMAL, .a = 1 }
/* Gates around 1: weights fall to 1/e in three tokens. */
#define INPUTS(B, L, H, dk, dv)                                                                    \
    NORMAL(B, L, (H) * (dk)), NORMAL(B, L, (H) * (dk)), NORMAL(B, L, (H) * (dv)), {                \
        .shape = SHAPE(B, L, 2 * (H)), .fill = FILL_NORMAL, .a = 1, .b = 1                         \
    }
#define HEADS(H)                                                                                   \
    .attributes = &(const Mlstm) {                                                                 \
        H                                                                                          \
    }

static const OpCase cases[] = {
    /* Small, so that n . q is: a normaliser of one term alone would leave the sign of it. */
    {"B1L1H1K1V1",
     .in = {{.shape = SHAPE(1, 1, 1), .fill = FILL_UNIFORM, .a = 0, .b = 0.1},
            NORMAL(1, 1, 1),
            NORMAL(1, 1, 1),
            NORMAL(1, 1, 2)},
     HEADS(1)},
    {"B2L5H2K3V2", .in = {INPUTS(2, 5, 2, 3, 2)}, HEADS(2)},
    {"B1L64H1K4V5", .in = {INPUTS(1, 64, 1, 4, 5)}, HEADS(1)},
    {"B2L97H3K5V7", .in = {INPUTS(2, 97, 3, 5, 7)}, HEADS(3)},
    {"B1L193H2K17V33", .in = {INPUTS(1, 193, 2, 17, 33)}, HEADS(2)},
    {"B1L130H1K67V40", .in = {INPUTS(1, 130, 1, 67, 40)}, HEADS(1)},
    {"B3L65H1K32V32", .in = {INPUTS(3, 65, 1, 32, 32)}, HEADS(1)},
    /* Chunks that forget all that came before. The logarithms add up to some 400, which float32
     * knows to 2e-5: weights err by as much. */
    {"forgetting",
     .in = {NORMAL(1, 140, 6),
            NORMAL(1, 140, 6),
            NORMAL(1, 140, 8),
            {.shape = SHAPE(1, 140, 4), .fill = FILL_UNIFORM, .a = -12, .b = 0}},
     HEADS(2), .tolerance = 1e-4},
    /* Input gates whose exponentials overflow without the stabiliser. */
    {"overflow",
     .in = {NORMAL(1, 70, 6),
            NORMAL(1, 70, 6),
            NORMAL(1, 70, 8),
            {.shape = SHAPE(1, 70, 4), .fill = FILL_NORMAL, .a = 60, .b = 0}},
     HEADS(2), .tolerance = 1e-4},
    /* Where the normaliser is the small difference of large terms, it errs by more than they do:
     * in one of some 1e5 results by 20 times as much. */
    {"B8L256H4K32V32", .in = {INPUTS(8, 256, 4, 32, 32)}, HEADS(4), .tolerance = 4e-5,
     .benchmark = true},
    {"B1L512H4K64V64", .in = {INPUTS(1, 512, 4, 64, 64)}, HEADS(4), .tolerance = 4e-5,
     .benchmark = true},
    {"B1L256H2K384V384", .in = {INPUTS(1, 256, 2, 384, 384)}, HEADS(2), .tolerance = 4e-5,
     .benchmark = true},
    {"B8L2048H4K384V384", .in = {INPUTS(8, 2048, 4, 384, 384)}, HEADS(4), .gpu = true},
    {"B32L512H4K32V32", .in = {INPUTS(32, 512, 4, 32, 32)}, HEADS(4), .gpu = true},
};

OP_CPU_DECLARE(mlstm);

const Op op_mlstm = {
    .name = "mlstm",
    .summary = "C = f C + i k v^T; n = f n + i k; h = q C / max(|q n|, 1), stabilised",
    .inputs = MLSTM_INPUTS,
    .outputs = 1,
    .attribute_bytes = sizeof(Mlstm),
    .needs_inputs = (1u << MLSTM_INPUTS) - 1u,
    .needs_outputs = 1,
    .gradients = (1u << MLSTM_INPUTS) - 1u,
    .multiplies = true,
    .shape = shape,
    .cost = cost,
    .scratch = scratch,
    .cpu = OP_CPU(mlstm),
    .reference = mlstm_reference,
    OP_CASES(cases),
};

Tensor *mlstm(Tape *tape, Tensor *q, Tensor *k, Tensor *v, Tensor *gates, int64_t heads) {
    Tensor *in[MLSTM_INPUTS] = {q, k, v, gates};
    return tape_apply(tape, &op_mlstm, in, MLSTM_INPUTS, &(Mlstm){heads})->out[0];
}
