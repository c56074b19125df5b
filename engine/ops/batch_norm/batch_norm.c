#include "engine/ops/batch_norm/batch_norm.h"

static void shape(Tape *tape, OpCall *call) {
    static const char *const names[] = {"x", "gamma", "beta", "the mean", "the variance"};
    const BatchNorm *attributes = call->attributes;
    Tensor *x = call->in[BATCH_X];
    const int64_t D = extent(x, -1), rows = rows_of(x);
    for (int i = BATCH_GAMMA; i < BATCH_INPUTS; i++) {
        const Tensor *in = input_of(call, i);
        const bool optional = i >= BATCH_MEAN && !attributes->running;
        if (in ? tensor_size(in) == D : optional) continue;
        tape_fail(tape, call, "%s must have %lld elements, the last extent of x, but has %lld",
                  names[i], (long long)D, in ? (long long)tensor_size(in) : 0ll);
        return;
    }
    if (!(attributes->epsilon > 0)) {
        tape_fail(tape, call, "epsilon must be above zero, but is %g", (double)attributes->epsilon);
        return;
    }
    if (!attributes->running && rows < 2) {
        tape_fail(tape, call,
                  "one row has no variance; give training more than one sample at a time or "
                  "longer sequences, or use another norm");
        return;
    }
    tape_output(tape, call, TENSOR_FLOAT, x->shape);
    if (attributes->running) {
        call->needs_inputs = call->needs_outputs = 0;
        return;
    }
    tape_output(tape, call, TENSOR_FLOAT, SHAPE(D));
    tape_output(tape, call, TENSOR_FLOAT, SHAPE(D));
}

static void cost(const OpCall *call, Cost *forward, Cost *backward) {
    const BatchNorm *attributes = call->attributes;
    const double n = (double)tensor_size(call->in[BATCH_X]), D = (double)extent(call->in[0], -1);
    /* Deviation, gain, offset; before these the sums of deviations and of their squares. */
    forward->flops = n * (attributes->running ? 3 : 7);
    forward->specials = 2 * D;
    forward->bytes_read = 4 * (n + (attributes->running ? 4 : 2) * D);
    forward->bytes_written = 4 * (n + (attributes->running ? 0 : 2) * D);
    /* Two sums, of slopes and of slopes times deviations, and three terms. */
    backward->flops = n * 9;
    backward->specials = 2 * D;
    backward->bytes_read = 4 * (2 * n + 3 * D);
    backward->bytes_written = 4 * n;
}

/* Forward: three numbers of each chunk and channel, backward two; then what all rows share. */
static size_t scratch(const OpCall *call, int threads, Phase phase) {
    (void)threads;
    const BatchNorm *attributes = call->attributes;
    const Tensor *x = call->in[BATCH_X];
    const int64_t D = extent(x, -1), chunks = batch_chunks(rows_of(x));
    const int64_t lines = phase == PHASE_BACKWARD ? 2 * chunks + 3
                          : attributes->running   ? 1
                                                  : 3 * chunks + 1;
    return (size_t)(lines * D) * sizeof(float);
}

#define ROWS(...)                                                                                  \
    { .shape = SHAPE(__VA_ARGS__), .fill = FILL_NORMAL, .a = 2, .b = 0.5 }
#define WEIGHTS(D)                                                                                 \
    { .shape = SHAPE(D), .fill = FILL_UNIFORM, .a = -1, .b = 2 }
#define VARIANCE(D)                                                                                \
    { .shape = SHAPE(D), .fill = FILL_UNIFORM, .a = 0.2, .b = 3 }
#define OF_ROWS                                                                                    \
    .attributes = &(const BatchNorm) {                                                             \
        .epsilon = 1e-5f                                                                           \
    }
#define RUNNING                                                                                    \
    .attributes = &(const BatchNorm){.epsilon = 1e-5f, .running = true}, .gradient_free = true

static const OpCase cases[] = {
    {.name = "rows2x3x7", .in = {ROWS(2, 3, 7), WEIGHTS(7), WEIGHTS(7)}, OF_ROWS},
    /* Two rows normalise to +-1 but for epsilon: without a large one their gradient is the
     * difference of nearly equal numbers. */
    {.name = "rows2x1",
     .in = {ROWS(2, 1), WEIGHTS(1), WEIGHTS(1)},
     .attributes = &(const BatchNorm){.epsilon = 0.5f}},
    {.name = "rows5x64", .in = {ROWS(5, 64), WEIGHTS(64), WEIGHTS(64)}, OF_ROWS},
    {.name = "rows256x20", .in = {ROWS(256, 20), WEIGHTS(20), WEIGHTS(20)}, OF_ROWS},
    {.name = "rows257x33", .in = {ROWS(257, 33), WEIGHTS(33), WEIGHTS(33)}, OF_ROWS},
    {.name = "rows1031x19", .in = {ROWS(1031, 19), WEIGHTS(19), WEIGHTS(19)}, OF_ROWS},
    {.name = "rows3x211x130", .in = {ROWS(3, 211, 130), WEIGHTS(130), WEIGHTS(130)}, OF_ROWS},
    /* The mean is 100 deviations: the difference of mean square and squared mean, in float32, would
     * be off by some 1e4 roundings. */
    {.name = "rows700x37far",
     .in = {{.shape = SHAPE(700, 37), .fill = FILL_NORMAL, .a = 1, .b = 100},
            WEIGHTS(37),
            WEIGHTS(37)},
     OF_ROWS},
    {.name = "running1x1",
     .in = {ROWS(1, 1), WEIGHTS(1), WEIGHTS(1), WEIGHTS(1), VARIANCE(1)},
     RUNNING},
    {.name = "running2x3x7",
     .in = {ROWS(2, 3, 7), WEIGHTS(7), WEIGHTS(7), WEIGHTS(7), VARIANCE(7)},
     RUNNING},
    {.name = "running521x68",
     .in = {ROWS(521, 68), WEIGHTS(68), WEIGHTS(68), WEIGHTS(68), VARIANCE(68)},
     RUNNING},
    {.name = "rows2048x64",
     .in = {ROWS(2048, 64), WEIGHTS(64), WEIGHTS(64)},
     OF_ROWS,
     .benchmark = true},
    {.name = "rows8192x256",
     .in = {ROWS(8192, 256), WEIGHTS(256), WEIGHTS(256)},
     OF_ROWS,
     .benchmark = true},
    {.name = "running2048x64",
     .in = {ROWS(2048, 64), WEIGHTS(64), WEIGHTS(64), WEIGHTS(64), VARIANCE(64)},
     RUNNING,
     .benchmark = true},
    {.name = "rows262144x256",
     .in = {ROWS(262144, 256), WEIGHTS(256), WEIGHTS(256)},
     OF_ROWS,
     .gpu = true},
    {.name = "rows51200x512",
     .in = {ROWS(51200, 512), WEIGHTS(512), WEIGHTS(512)},
     OF_ROWS,
     .gpu = true},
};

void batch_norm_reference(const ReferenceCall *call);
OP_CPU_DECLARE(batch_norm);

const Op op_batch_norm = {
    .name = "batch_norm",
    .summary =
        "y = gamma (x - mean) / sqrt(variance + epsilon) + beta over all but the last extent",
    .inputs = BATCH_INPUTS,
    .outputs = BATCH_OUTPUTS,
    .attribute_bytes = sizeof(BatchNorm),
    .needs_inputs = 1u << BATCH_X | 1u << BATCH_GAMMA,
    .needs_outputs = 1u << BATCH_ROW_MEAN | 1u << BATCH_ROW_VARIANCE,
    .gradients = (1u << BATCH_INPUTS) - 1,
    .shape = shape,
    .cost = cost,
    .scratch = scratch,
    .cpu = OP_CPU(batch_norm),
    .reference = batch_norm_reference,
    OP_CASES(cases),
};

Tensor *batch_norm(Tape *tape, Tensor *x, Tensor *gamma, Tensor *beta, Tensor *mean,
                   Tensor *variance, double epsilon) {
    const BatchNorm attributes = {.epsilon = (float)epsilon,
                                  .running = tape_mode(tape) != TAPE_TRAIN};
    Tensor *in[BATCH_INPUTS] = {x, gamma, beta, mean, variance};
    return tape_apply(tape, &op_batch_norm, in, BATCH_INPUTS, &attributes)->out[BATCH_Y];
}
