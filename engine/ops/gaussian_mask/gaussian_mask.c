#include "engine/ops/gaussian_mask/gaussian_mask.h"

OP_CPU_DECLARE(gaussian_mask);
void gaussian_mask_reference(const ReferenceCall *call);

static void shape(Tape *tape, OpCall *call) {
    const Tensor *x = call->in[0];
    const GaussianMask *attributes = call->attributes;
    if (x->shape.rank != 2 || tensor_size(call->in[1]) != extent(x, 0) ||
        tensor_size(call->in[2]) != 2 || !(attributes->threshold < 1)) {
        tape_fail(
            tape, call,
            "expected x (K, C), K positions, a mean with a deviation, and a threshold below 1");
        return;
    }
    tape_output(tape, call, TENSOR_FLOAT, x->shape);
}

static void cost(const OpCall *call, Cost *forward, Cost *backward) {
    const double n = (double)tensor_size(call->in[0]), rows = (double)extent(call->in[0], 0);
    *forward = (Cost){.flops = n, .specials = rows, .bytes_read = 4 * n, .bytes_written = 4 * n};
    *backward =
        (Cost){.flops = 3 * n, .specials = rows, .bytes_read = 8 * n, .bytes_written = 4 * n};
}

/* Backward: a sum for each row. */
static size_t scratch(const OpCall *call, int threads, Phase phase) {
    (void)threads;
    return phase == PHASE_BACKWARD ? (size_t)extent(call->in[0], 0) * sizeof(float) : 0;
}

Tensor *gaussian_mask(Tape *tape, Tensor *x, Tensor *positions, Tensor *window,
                      GaussianMask attributes) {
    Tensor *in[] = {x, positions, window};
    return tape_apply(tape, &op_gaussian_mask, in, 3, &attributes)->out[0];
}

#define X(K, C)                                                                                    \
    { SHAPE(K, C), FILL_NORMAL, 1, 0 }
#define POSITIONS(K)                                                                               \
    { SHAPE(K), FILL_UNIFORM, -1, 1 }
/* around mean and deviation of the row's name */
#define WINDOW(a, b)                                                                               \
    { SHAPE(2), FILL_UNIFORM, a, b }

static const GaussianMask crops = {0.1f}, whole = {0};

static const OpCase cases[] = {
    {.name = "K1C1", .in = {X(1, 1), POSITIONS(1), WINDOW(0.5, 0.9)}, .attributes = &whole},
    {.name = "K13C7", .in = {X(13, 7), POSITIONS(13), WINDOW(0.4, 0.6)}, .attributes = &crops},
    {.name = "K67C33", .in = {X(67, 33), POSITIONS(67), WINDOW(0.2, 0.3)}, .attributes = &crops},
    {.name = "K131C300", .in = {X(131, 300), POSITIONS(131), WINDOW(0.7, 1)}, .attributes = &whole},
    {.name = "K784C900",
     .in = {X(784, 900), POSITIONS(784), WINDOW(0.4, 0.6)},
     .attributes = &crops,
     .benchmark = true},
};

const Op op_gaussian_mask = {
    .name = "gaussian_mask",
    .summary = "y = x exp(-((s - mean) / deviation)^2 / 2), cropped",
    .inputs = 3,
    .outputs = 1,
    .attribute_bytes = sizeof(GaussianMask),
    .needs_inputs = 7,
    .gradients = 5,
    .shape = shape,
    .cost = cost,
    .scratch = scratch,
    .cpu = OP_CPU(gaussian_mask),
    .reference = gaussian_mask_reference,
    OP_CASES(cases),
};
