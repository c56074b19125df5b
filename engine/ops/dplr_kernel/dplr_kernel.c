#include "engine/ops/dplr_kernel/dplr_kernel.h"

#include <math.h>

#include "engine/ops/dplr_kernel/dplr_kernel_plan.h"

static bool has_shape(const Tensor *tensor, Shape shape) {
    return shape_equal(&tensor->shape, &shape);
}

void dplr_check_shapes(Tape *tape, const OpCall *call, int64_t period) {
    const Tensor *A = call->in[DPLR_A_REAL], *P = call->in[DPLR_P];
    if (A->shape.rank != 2 || P->shape.rank != 4) {
        tape_fail(tape, call, "A_real must be (S, M) and P (R, S, M, 2), not of rank %d and %d",
                  A->shape.rank, P->shape.rank);
        return;
    }
    const int64_t S = extent(A, 0), M = extent(A, 1), R = extent(P, 0);
    const int64_t D = extent(call->in[DPLR_LOG_DT], 0);
    const Tensor *reverse = call->inputs > DPLR_C_REVERSE ? call->in[DPLR_C_REVERSE] : NULL;
    if (R < 1 || R > DPLR_MOST_RANK || S > D || !has_shape(call->in[DPLR_LOG_DT], SHAPE(D)) ||
        !has_shape(call->in[DPLR_A_IMAG], SHAPE(S, M)) || !has_shape(P, SHAPE(R, S, M, 2)) ||
        !has_shape(call->in[DPLR_B], SHAPE(S, M, 2)) ||
        !has_shape(call->in[DPLR_C], SHAPE(D, M, 2)) ||
        (reverse && !has_shape(reverse, SHAPE(D, M, 2))))
        tape_fail(tape, call,
                  "with A_real (%lld, %lld) expected log_dt (D), D >= S, A_imag (S, M), P (1 or 2, "
                  "S, M, 2), B (S, M, 2) and C (D, M, 2)",
                  (long long)S, (long long)M);
    if (period < 2 || (period & (period - 1)))
        tape_fail(tape, call, "the period must be a power of two from 2 on, not %lld",
                  (long long)period);
}

static void shape(Tape *tape, OpCall *call) {
    const DplrKernel *attributes = call->attributes;
    dplr_check_shapes(tape, call, attributes->period);
    if (attributes->length < 1 || attributes->length > attributes->period)
        tape_fail(tape, call, "the kernel's length must be 1 .. period");
    const Shape kernel = SHAPE(attributes->length, extent(call->in[DPLR_LOG_DT], 0));
    const DplrPlan plan = dplr_plan(call);
    for (int i = 0; i < plan.kernels; i++) tape_output(tape, call, TENSOR_FLOAT, kernel);
    if (tape_mode(tape) == TAPE_TRAIN)
        tape_saved(tape, call, TENSOR_FLOAT, SHAPE(plan.n + 1, 2 * dplr_saved(&plan), plan.D));
}

/* For every node and mode the common denominator (10) and 8 for each product of factors; backward
 * 16 for each and 30 beside. Two sevenths of that are what the equations of one conjugate pair
 * alone would need. */
static void cost(const OpCall *call, Cost *forward, Cost *backward) {
    const DplrPlan plan = dplr_plan(call);
    const double D = (double)plan.D, n = (double)plan.n, M = (double)plan.M;
    const double products = dplr_products(&plan), kernels = plan.kernels, L = (double)plan.L;
    const double transforms = kernels * D * (5 * n * log2(n < 2 ? 2 : n) + 8 * n);
    const double parameters = 4 * (D + (double)plan.S * M * (4 + 2 * plan.R) + 2 * D * M * kernels);
    forward->flops = (n + 1) * M * D * (10 + 8 * products) + transforms;
    backward->flops = (n + 1) * M * D * (30 + 16 * products) + transforms;
    forward->specials = backward->specials = (n + 1) * M * D + D * M + D;
    forward->bytes_read = backward->bytes_written = parameters;
    forward->bytes_written = 4 * kernels * L * D;
    backward->bytes_read = parameters + 4 * kernels * L * D;
}

static size_t scratch(const OpCall *call, int threads, Phase phase) {
    const DplrPlan plan = dplr_plan(call);
    return (size_t)(dplr_shared_floats(&plan, phase) + threads * dplr_thread_floats(&plan, phase)) *
           sizeof(float);
}

/* Modes of HiPPO-LegS reach from Im dt lambda = 1e-4 to 130 with P up to sqrt(N); here the middle
 * of that range. Real parts near -1/2, so that no node is nearer to a mode than a float can tell.
 */
#define STATES(D, S, M, R)                                                                         \
    {SHAPE(D), FILL_UNIFORM, -4, -2}, {SHAPE(S, M), FILL_UNIFORM, -1, 0},                          \
        {SHAPE(S, M), FILL_UNIFORM, 0, 30}, {SHAPE(R, S, M, 2), FILL_NORMAL, 1, 0}, {              \
        SHAPE(S, M, 2), FILL_NORMAL, 1, 0                                                          \
    }
/* As HiPPO-LegS begins: B is sqrt(2) P, but for a little. */
#define STATES_NEAR(D, S, M)                                                                       \
    {SHAPE(D), FILL_UNIFORM, -4, -2}, {SHAPE(S, M), FILL_UNIFORM, -1, 0},                          \
        {SHAPE(S, M), FILL_UNIFORM, 0, 30}, {SHAPE(1, S, M, 2), FILL_NORMAL, 0.1, 3}, {            \
        SHAPE(S, M, 2), FILL_NORMAL, 0.1, 4.24                                                     \
    }
#define OUTPUT(D, M)                                                                               \
    { SHAPE(D, M, 2), FILL_NORMAL, 1, 0 }
#define TAPS(PERIOD, LENGTH)                                                                       \
    &(const DplrKernel) {                                                                          \
        PERIOD, LENGTH                                                                             \
    }

static const OpCase cases[] = {
    {.name = "L2D1M1", .in = {STATES(1, 1, 1, 1), OUTPUT(1, 1)}, .attributes = TAPS(2, 2)},
    {.name = "L1of2D3M2", .in = {STATES(3, 3, 2, 1), OUTPUT(3, 2)}, .attributes = TAPS(2, 1)},
    {.name = "L4D2M1rank2", .in = {STATES(2, 2, 1, 2), OUTPUT(2, 1)}, .attributes = TAPS(4, 4)},
    {.name = "L16D17M3", .in = {STATES(17, 17, 3, 1), OUTPUT(17, 3)}, .attributes = TAPS(16, 16)},
    {.name = "L59of64D5S2M3",
     .in = {STATES(5, 2, 3, 1), OUTPUT(5, 3), OUTPUT(5, 3)},
     .attributes = TAPS(64, 59),
     .seeds = 3u},
    {.name = "L128D3S1M5rank2",
     .in = {STATES(3, 1, 5, 2), OUTPUT(3, 5), OUTPUT(3, 5)},
     .attributes = TAPS(128, 128),
     .seeds = 3u},
    {.name = "L256D5S5M2", .in = {STATES(5, 5, 2, 1), OUTPUT(5, 2)}, .attributes = TAPS(256, 256)},
    {.name = "L500of512D3S1M3",
     .in = {STATES(3, 1, 3, 1), OUTPUT(3, 3)},
     .attributes = TAPS(512, 500)},
    {.name = "L512D3M8near",
     .in = {STATES_NEAR(3, 3, 8), OUTPUT(3, 8)},
     .attributes = TAPS(512, 512)},
    {.name = "L1024D64M32",
     .in = {STATES(64, 64, 32, 1), OUTPUT(64, 32)},
     .attributes = TAPS(1024, 1024),
     .benchmark = true},
    {.name = "L16384D128M32",
     .in = {STATES(128, 128, 32, 1), OUTPUT(128, 32)},
     .attributes = TAPS(16384, 16384),
     .benchmark = true},
    {.name = "L1024D64M32both",
     .in = {STATES(64, 1, 32, 1), OUTPUT(64, 32), OUTPUT(64, 32)},
     .attributes = TAPS(1024, 1024),
     .benchmark = true},
};

OP_CPU_DECLARE(dplr_kernel);

const Op op_dplr_kernel = {
    .name = "dplr_kernel",
    .summary = "K[l] = c Abar^l Bbar of a diagonal plus low-rank state space",
    .inputs = DPLR_INPUTS,
    .outputs = 2,
    .attribute_bytes = sizeof(DplrKernel),
    .needs_inputs = (1u << DPLR_INPUTS) - 1,
    .gradients = (1u << DPLR_INPUTS) - 1,
    .shape = shape,
    .cost = cost,
    .scratch = scratch,
    .cpu = OP_CPU(dplr_kernel),
    .reference = dplr_kernel_reference,
    OP_CASES(cases),
};

Tensor *dplr_kernel(Tape *tape, DplrParameters p, DplrKernel attributes, Tensor **reverse) {
    Tensor *const in[] = {p.log_dt, p.A_real, p.A_imag, p.P, p.B, p.C, p.C_reverse};
    OpCall *call = tape_apply(tape, &op_dplr_kernel, in, DPLR_INPUTS, &attributes);
    if (reverse) *reverse = p.C_reverse ? call->out[1] : NULL;
    return call->out[0];
}
