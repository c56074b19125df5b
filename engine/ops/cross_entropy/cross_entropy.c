#include "engine/ops/cross_entropy/cross_entropy.h"

#include "engine/ops/cross_entropy/cross_entropy_plan.h"

static void shape(Tape *tape, OpCall *call) {
    const Tensor *x = call->in[0], *table = call->in[1], *bias = call->in[2];
    const int64_t rows = rows_of(x);
    if (table->shape.rank != 2 || extent(table, 1) != extent(x, -1)) {
        tape_fail(tape, call,
                  "the table must be (classes, width) with width %lld, the last extent "
                  "of x, but its last extent is %lld of %d",
                  (long long)extent(x, -1), (long long)extent(table, -1), table->shape.rank);
        return;
    }
    if (bias && tensor_size(bias) != extent(table, 0)) {
        tape_fail(tape, call, "the bias must have %lld elements, one for each class, but has %lld",
                  (long long)extent(table, 0), (long long)tensor_size(bias));
        return;
    }
    for (int i = 3; i < 5; i++)
        if (tensor_size(call->in[i]) != rows) {
            tape_fail(tape, call, "%s must have %lld elements, one for each row of x, but has %lld",
                      i == 3 ? "classes" : "weights", (long long)rows,
                      (long long)tensor_size(call->in[i]));
            return;
        }
    tape_output(tape, call, TENSOR_FLOAT, SHAPE(1));
    tape_output(tape, call, TENSOR_FLOAT, SHAPE(rows));
    tape_output(tape, call, TENSOR_INTEGER, SHAPE(rows));
    if (tape_mode(tape) != TAPE_TRAIN) return;
    const HeadPlan plan = head_plan(call);
    tape_saved(tape, call, TENSOR_FLOAT, SHAPE(rows));
    tape_saved(tape, call, TENSOR_FLOAT, SHAPE(rows));
    if (!plan.stored) return;
    tape_saved(tape, call, TENSOR_FLOAT, SHAPE(plan.blocks, rows));
    tape_saved(tape, call, TENSOR_FLOAT, SHAPE(plan.blocks, rows, plan.block));
}

static void cost(const OpCall *call, Cost *forward, Cost *backward) {
    const Tensor *x = call->in[0], *table = call->in[1], *bias = call->in[2];
    const double logits = (double)rows_of(x) * (double)extent(table, 0);
    const double product = 2.0 * logits * (double)extent(x, -1);
    const double moved = 4.0 * ((double)tensor_size(x) + (double)tensor_size(table));
    /* Bias; then comparison, difference, sum, and one exponential. */
    forward->flops = product + logits * (bias ? 4 : 3);
    forward->specials = logits;
    forward->bytes_read = moved;
    forward->bytes_written = 12.0 * (double)rows_of(x);
    backward->flops = product * ((x->wants_gradient ? 1 : 0) + (table->wants_gradient ? 1 : 0)) +
                      logits * (bias ? 2 : 1);
    backward->bytes_read = moved;
    backward->bytes_written = moved;
}

static size_t scratch(const OpCall *call, int threads, Phase phase) {
    const HeadPlan plan = head_plan(call);
    if (phase == PHASE_FORWARD) {
        const bool stored = call->saves > HEAD_TERMS;
        return (size_t)(head_shared_floats(&plan, stored) +
                        threads * head_thread_floats(&plan, stored)) *
               sizeof(float);
    }
    const size_t products[] = {
        gemm_workspace(GEMM_NT, HEAD_BATCH, plan.block, plan.width, threads),
        gemm_workspace(GEMM_NN, HEAD_BATCH, plan.width, plan.block, threads),
        gemm_workspace(GEMM_TN, plan.block, plan.width, HEAD_BATCH, threads),
    };
    size_t most = 0;
    for (int i = 0; i < 3; i++) most = products[i] > most ? products[i] : most;
    return (size_t)(HEAD_BATCH * plan.block) * sizeof(float) + most;
}

#define INPUT(...)                                                                                 \
    { .shape = SHAPE(__VA_ARGS__), .fill = FILL_NORMAL, .a = 1 }
#define ABSENT                                                                                     \
    { .fill = FILL_NONE }
#define CLASSES(R, V)                                                                              \
    { .shape = SHAPE(R), .fill = FILL_INTEGER, .a = 0, .b = V }
#define WEIGHTS(R)                                                                                 \
    { .shape = SHAPE(R), .fill = FILL_UNIFORM, .a = 0, .b = 2 }
#define HEAD(R, D, V) .in = {INPUT(R, D), INPUT(V, D), ABSENT, CLASSES(R, V), WEIGHTS(R)}
#define BIASED(R, D, V) .in = {INPUT(R, D), INPUT(V, D), INPUT(V), CLASSES(R, V), WEIGHTS(R)}

static const OpCase cases[] = {
    {.name = "R1D1V2", HEAD(1, 1, 2)},
    {.name = "R7D5V2bias", BIASED(7, 5, 2)},
    {.name = "R2x3D4V11",
     .in = {INPUT(2, 3, 4), INPUT(11, 4), INPUT(11), CLASSES(6, 11), WEIGHTS(6)}},
    {.name = "R1D17V1009", HEAD(1, 17, 1009)},
    {.name = "R61D31V33bias", BIASED(61, 31, 33), .seeds = 3u},
    {.name = "R131D16V513bias", BIASED(131, 16, 513)},
    {.name = "R300D20V1500", HEAD(300, 20, 1500)},
    {.name = "R259D8V67bias", BIASED(259, 8, 67)},
    /* On GPUs a row is whole pieces (128, 256 and more classes), or blocks have it (2048). */
    {.name = "R131D3V128bias", BIASED(131, 3, 128), .seeds = 3u},
    {.name = "R77D3V2560bias", BIASED(77, 3, 2560)},
    /* More than the 64 MiB that are kept: backward computes the logits again. */
    {.name = "R340D2V50021bias", BIASED(340, 2, 50021)},
    {.name = "R1024D64V256", HEAD(1024, 64, 256), .benchmark = true},
    {.name = "R256D64V8192", HEAD(256, 64, 8192), .benchmark = true},
    {.name = "R16384D2048V256", HEAD(16384, 2048, 256), .gpu = true},
    {.name = "R8192D2048V50304", HEAD(8192, 2048, 50304), .gpu = true},
};

void cross_entropy_reference(const ReferenceCall *call);
OP_CPU_DECLARE(cross_entropy);

const Op op_cross_entropy = {
    .name = "cross_entropy",
    .summary = "loss = sum of weight (log sum exp(x table^T + bias) - logit of the class)",
    .inputs = 5,
    .outputs = 3,
    .needs_inputs = 31,
    .gradients = 7,
    .multiplies = true,
    .shape = shape,
    .cost = cost,
    .scratch = scratch,
    .cpu = OP_CPU(cross_entropy),
    .reference = cross_entropy_reference,
    OP_CASES(cases),
};

CrossEntropy cross_entropy(Tape *tape, Tensor *x, Tensor *table, Tensor *bias, Tensor *classes,
                           Tensor *weights) {
    Tensor *in[] = {x, table, bias, classes, weights};
    const OpCall *call = tape_apply(tape, &op_cross_entropy, in, 5, NULL);
    return (CrossEntropy){call->out[0], call->out[1], call->out[2]};
}
