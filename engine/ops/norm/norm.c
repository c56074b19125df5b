#include "engine/ops/norm/norm.h"

static void shape(Tape *tape, OpCall *call) {
    const Norm *attributes = call->attributes;
    Tensor *x = call->in[0];
    const int64_t width = extent(x, -1);
    for (int i = 1; i < call->inputs; i++)
        if (call->in[i] && tensor_size(call->in[i]) != width) {
            tape_fail(tape, call, "%s must have %lld elements, the last extent of x, but has %lld",
                      i == 1 ? "gamma" : "beta", (long long)width,
                      (long long)tensor_size(call->in[i]));
            return;
        }
    if (!(attributes->epsilon >= 0)) {
        tape_fail(tape, call, "epsilon must not be negative, but is %g",
                  (double)attributes->epsilon);
        return;
    }
    tape_output(tape, call, TENSOR_FLOAT, x->shape);
    const int64_t rows = rows_of(x);
    tape_saved(tape, call, TENSOR_FLOAT, SHAPE(rows)); /* 1 / deviation */
    if (attributes->kind == NORM_KIND_LAYER) tape_saved(tape, call, TENSOR_FLOAT, SHAPE(rows));
}

static void cost(const OpCall *call, Cost *forward, Cost *backward) {
    const Norm *attributes = call->attributes;
    const double n = (double)tensor_size(call->in[0]), rows = (double)rows_of(call->in[0]);
    const bool layer = attributes->kind == NORM_KIND_LAYER;
    const bool gamma = call->inputs > 1 && call->in[1], beta = call->inputs > 2 && call->in[2];
    /* Sum, deviation, its square summed; product with 1 / deviation, gamma, beta. */
    forward->flops = n * ((layer ? 4 : 2) + 1 + gamma + beta);
    forward->specials = 2 * rows;
    forward->bytes_read = 4 * n;
    forward->bytes_written = 4 * (n + (layer ? 2 : 1) * rows);
    /* Normalised x, two row sums (one for RMS), three terms, and the parameters' sums. */
    backward->flops = n * ((layer ? 9 : 6) + (gamma ? 3 : 0) + beta);
    backward->bytes_read = 4 * (2 * n + (layer ? 2 : 1) * rows);
    backward->bytes_written = 4 * n;
}

static size_t scratch(const OpCall *call, int threads, Phase phase) {
    (void)threads;
    if (phase == PHASE_FORWARD || call->inputs == 1) return 0;
    return (size_t)(2 * norm_chunks(rows_of(call->in[0])) * extent(call->in[0], -1)) *
           sizeof(float);
}

#define ROWS(...)                                                                                  \
    { .shape = SHAPE(__VA_ARGS__), .fill = FILL_NORMAL, .a = 2, .b = 0.5 }
#define WEIGHTS(D)                                                                                 \
    { .shape = SHAPE(D), .fill = FILL_UNIFORM, .a = -1, .b = 2 }
#define LAYER                                                                                      \
    .attributes = &(const Norm) {                                                                  \
        .kind = NORM_KIND_LAYER, .epsilon = 1e-5f                                                  \
    }
#define RMS                                                                                        \
    .attributes = &(const Norm) {                                                                  \
        .kind = NORM_KIND_RMS, .epsilon = 1e-5f                                                    \
    }

static const OpCase cases[] = {
    {.name = "layer2x3x7", .in = {ROWS(2, 3, 7), WEIGHTS(7), WEIGHTS(7)}, LAYER},
    /* Two columns normalise to +-1 but for epsilon: without a large one their gradient is the
     * difference of nearly equal numbers. One column gives beta alone. */
    {.name = "layer5x2",
     .in = {ROWS(5, 2), WEIGHTS(2), WEIGHTS(2)},
     .attributes = &(const Norm){.kind = NORM_KIND_LAYER, .epsilon = 0.5f}},
    {.name = "layer1x64", .in = {ROWS(1, 64), WEIGHTS(64), WEIGHTS(64)}, LAYER},
    {.name = "layer67x33plain", .in = {ROWS(67, 33)}, LAYER},
    {.name = "layer67x33gamma", .in = {ROWS(67, 33), WEIGHTS(33)}, LAYER},
    {.name = "layer331x48", .in = {ROWS(331, 48), WEIGHTS(48), WEIGHTS(48)}, LAYER},
    {.name = "layer19x1031", .in = {ROWS(19, 1031), WEIGHTS(1031), WEIGHTS(1031)}, LAYER},
    {.name = "layer35x1028", .in = {ROWS(35, 1028), WEIGHTS(1028), WEIGHTS(1028)}, LAYER},
    {.name = "layer35x513", .in = {ROWS(35, 513), WEIGHTS(513), WEIGHTS(513)}, LAYER},
    {.name = "rms40x520", .in = {ROWS(40, 520), WEIGHTS(520)}, RMS},
    {.name = "rms2x3x7", .in = {ROWS(2, 3, 7), WEIGHTS(7)}, RMS},
    {.name = "rms1x1",
     .in = {ROWS(1, 1), WEIGHTS(1)},
     .attributes = &(const Norm){.kind = NORM_KIND_RMS, .epsilon = 0.5f}},
    {.name = "rms131x65plain", .in = {ROWS(131, 65)}, RMS},
    {.name = "rms331x48", .in = {ROWS(331, 48), WEIGHTS(48)}, RMS},
    {.name = "layer2048x64",
     .in = {ROWS(2048, 64), WEIGHTS(64), WEIGHTS(64)},
     LAYER,
     .benchmark = true},
    {.name = "layer256x512",
     .in = {ROWS(256, 512), WEIGHTS(512), WEIGHTS(512)},
     LAYER,
     .benchmark = true},
    {.name = "rms1024x128", .in = {ROWS(1024, 128), WEIGHTS(128)}, RMS, .benchmark = true},
    {.name = "layer16384x2048",
     .in = {ROWS(16384, 2048), WEIGHTS(2048), WEIGHTS(2048)},
     LAYER,
     .gpu = true},
    {.name = "rms16384x2048", .in = {ROWS(16384, 2048), WEIGHTS(2048)}, RMS, .gpu = true},
};

void norm_reference(const ReferenceCall *call);
OP_CPU_DECLARE(norm);

const Op op_norm = {
    .name = "norm",
    .summary = "y = gamma (x - mean) / sqrt(variance + epsilon) + beta over the last extent",
    .inputs = 3,
    .outputs = 1,
    .attribute_bytes = sizeof(Norm),
    .needs_inputs = 3,
    .gradients = 7,
    .shape = shape,
    .cost = cost,
    .scratch = scratch,
    .cpu = OP_CPU(norm),
    .reference = norm_reference,
    OP_CASES(cases),
};

Tensor *layer_norm(Tape *tape, Tensor *x, Tensor *gamma, Tensor *beta, double epsilon) {
    const Norm attributes = {.kind = NORM_KIND_LAYER, .epsilon = (float)epsilon};
    Tensor *in[] = {x, gamma, beta};
    return tape_apply(tape, &op_norm, in, 3, &attributes)->out[0];
}

Tensor *rms_norm(Tape *tape, Tensor *x, Tensor *gamma, double epsilon) {
    const Norm attributes = {.kind = NORM_KIND_RMS, .epsilon = (float)epsilon};
    Tensor *in[] = {x, gamma};
    return tape_apply(tape, &op_norm, in, 2, &attributes)->out[0];
}
