#include "engine/ops/ema_kernel/ema_kernel.h"

OP_CPU_DECLARE(ema_kernel);
void ema_kernel_reference(const ReferenceCall *call);

static void shape(Tape *tape, OpCall *call) {
    const EmaKernel *attributes = call->attributes;
    const Tensor *delta = call->in[EMA_DELTA];
    for (int i = 0; i < EMA_INPUTS; i++)
        if (call->in[i]->shape.rank != 2 || !shape_equal(&call->in[i]->shape, &delta->shape)) {
            tape_fail(tape, call, "expected delta, alpha, beta and gamma (N, D), all of one shape");
            return;
        }
    const int64_t N = extent(delta, 0), D = extent(delta, 1);
    if (attributes->length == 0 && tape_mode(tape) == TAPE_TRAIN) {
        tape_fail(tape, call, "modes have no gradient: they are for outside of training");
        return;
    }
    tape_output(tape, call, TENSOR_FLOAT,
                attributes->length ? SHAPE(attributes->length, D) : SHAPE(D, 4, N));
}

/* Powers by multiplication: two operations a row and average forward, four backward (the sums over
 * rows of K's gradient times a power, and times its derivative). */
static void cost(const OpCall *call, Cost *forward, Cost *backward) {
    const EmaKernel *attributes = call->attributes;
    const double n = (double)tensor_size(call->in[EMA_DELTA]);
    const double rows = (double)ema_rows(attributes);
    *forward = (Cost){.flops = n * (3 * rows + 6),
                      .specials = 3 * n,
                      .bytes_read = 16 * n,
                      .bytes_written = 4 * (double)tensor_size(call->out[0])};
    *backward = (Cost){.flops = n * (4 * rows + 20),
                       .specials = 2 * n,
                       .bytes_read = 16 * n + 4 * (double)tensor_size(call->out[0]),
                       .bytes_written = 16 * n};
}

static Tensor *record(Tape *tape, EmaParameters p, EmaKernel attributes) {
    Tensor *in[] = {p.delta, p.alpha, p.beta, p.gamma};
    return tape_apply(tape, &op_ema_kernel, in, EMA_INPUTS, &attributes)->out[0];
}
Tensor *ema_kernel(Tape *tape, EmaParameters parameters, EmaKernel attributes) {
    return record(tape, parameters, attributes);
}
Tensor *ema_modes(Tape *tape, EmaParameters parameters) {
    return record(tape, parameters, (EmaKernel){0});
}

#define NORMAL(N, D)                                                                               \
    { SHAPE(N, D), FILL_NORMAL, 1, 0 }
#define PARAMETERS(N, D)                                                                           \
    { NORMAL(N, D), NORMAL(N, D), NORMAL(N, D), NORMAL(N, D) }
/* Averages over some 20000 tokens: delta and alpha near -5. */
#define SLOW(N, D)                                                                                 \
    {                                                                                              \
        {SHAPE(N, D), FILL_NORMAL, 0.3, -5}, {SHAPE(N, D), FILL_NORMAL, 0.3, -5}, NORMAL(N, D),    \
            NORMAL(N, D)                                                                           \
    }
#define ROWS(...)                                                                                  \
    &(const EmaKernel) {                                                                           \
        __VA_ARGS__                                                                                \
    }

static const OpCase cases[] = {
    {.name = "L1N1D1", .in = PARAMETERS(1, 1), .attributes = ROWS(1, 0, 0)},
    {.name = "L7N2D3", .in = PARAMETERS(2, 3), .attributes = ROWS(7, 0, 0)},
    {.name = "L67N5D19", .in = PARAMETERS(5, 19), .attributes = ROWS(67, 0, 0)},
    {.name = "L40N6D33from1", .in = PARAMETERS(6, 33), .attributes = ROWS(40, 1, 0)},
    {.name = "L33N16D5cut", .in = PARAMETERS(16, 5), .attributes = ROWS(33, 1, 20)},
    {.name = "L700N4D18slow", .in = SLOW(4, 18), .attributes = ROWS(700, 0, 0)},
    {.name = "modesN3D7",
     .in = PARAMETERS(3, 7),
     .attributes = ROWS(0, 0, 0),
     .gradient_free = true},
    {.name = "L1024N16D128",
     .in = PARAMETERS(16, 128),
     .attributes = ROWS(1024, 0, 0),
     .benchmark = true},
};

const Op op_ema_kernel = {
    .name = "ema_kernel",
    .summary = "K_l = sqrt(1 / N) sum_n p beta gamma q^l, p and q from delta and alpha",
    .inputs = EMA_INPUTS,
    .outputs = 1,
    .attribute_bytes = sizeof(EmaKernel),
    .needs_inputs = (1u << EMA_INPUTS) - 1,
    .gradients = (1u << EMA_INPUTS) - 1,
    .shape = shape,
    .cost = cost,
    .cpu = OP_CPU(ema_kernel),
    .reference = ema_kernel_reference,
    OP_CASES(cases),
};
