#include "engine/ops/dplr_modes/dplr_modes.h"

#include <math.h>

#include "engine/ops/dplr_modes/dplr_system.h"

static void shape(Tape *tape, OpCall *call) {
    const DplrModes *attributes = call->attributes;
    dplr_check_shapes(tape, call, attributes->period);
    tape_output(tape, call, TENSOR_FLOAT,
                SHAPE(extent(call->in[DPLR_LOG_DT], 0), dplr_rows((int)extent(call->in[DPLR_P], 0)),
                      extent(call->in[DPLR_A_REAL], 1)));
}

/* Squarings of a matrix of N = 2 M rows, and one elimination. */
static void cost(const OpCall *call, Cost *forward, Cost *backward) {
    const DplrModes *attributes = call->attributes;
    const double D = (double)extent(call->in[DPLR_LOG_DT], 0);
    const double N = 2 * (double)extent(call->in[DPLR_A_REAL], 1);
    *forward = (Cost){.flops = D * N * N * N * (2 * log2((double)attributes->period) + 2.0 / 3),
                      .specials = D * (N + 1),
                      .bytes_read = 4 * D * (1 + 4 * N),
                      .bytes_written = 4 * (double)tensor_size(call->out[0])};
    *backward = (Cost){0};
}

/* Of one thread: two matrices, the system's complex numbers, its rows. */
static size_t scratch(const OpCall *call, int threads, Phase phase) {
    (void)phase;
    const int64_t M = extent(call->in[DPLR_A_REAL], 1);
    return (size_t)threads *
           (size_t)(dplr_space_doubles(M) + M * (4 + 2 * DPLR_MOST_RANK) +
                    M * dplr_rows(DPLR_MOST_RANK)) *
           sizeof(double);
}

#define SYSTEM(D, S, M, R)                                                                         \
    {SHAPE(D), FILL_UNIFORM, -4, -2}, {SHAPE(S, M), FILL_UNIFORM, -1, 0},                          \
        {SHAPE(S, M), FILL_UNIFORM, 0, 30}, {SHAPE(R, S, M, 2), FILL_NORMAL, 1, 0},                \
        {SHAPE(S, M, 2), FILL_NORMAL, 1, 0}, {                                                     \
        SHAPE(D, M, 2), FILL_NORMAL, 1, 0                                                          \
    }

static const OpCase cases[] = {
    {.name = "D1M1",
     .in = {SYSTEM(1, 1, 1, 1)},
     .attributes = &(DplrModes){2},
     .gradient_free = true},
    {.name = "D5S2M3rank2",
     .in = {SYSTEM(5, 2, 3, 2)},
     .attributes = &(DplrModes){64},
     .gradient_free = true},
    {.name = "D3S3M9",
     .in = {SYSTEM(3, 3, 9, 1)},
     .attributes = &(DplrModes){1024},
     .gradient_free = true},
};

OP_CPU_DECLARE(dplr_modes);

const Op op_dplr_modes = {
    .name = "dplr_modes",
    .summary = "a diagonal plus low-rank state space as a recurrence, c recovered",
    .inputs = DPLR_C_REVERSE,
    .outputs = 1,
    .attribute_bytes = sizeof(DplrModes),
    .shape = shape,
    .cost = cost,
    .scratch = scratch,
    .cpu = OP_CPU(dplr_modes),
    .reference = dplr_modes_reference,
    OP_CASES(cases),
};

Tensor *dplr_modes(Tape *tape, DplrParameters p, int64_t period) {
    Tensor *const in[] = {p.log_dt, p.A_real, p.A_imag, p.P, p.B, p.C};
    return tape_apply(tape, &op_dplr_modes, in, DPLR_C_REVERSE, &(DplrModes){period})->out[0];
}
