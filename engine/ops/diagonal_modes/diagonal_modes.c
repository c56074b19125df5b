#include "engine/ops/diagonal_modes/diagonal_modes.h"

static void shape(Tape *tape, OpCall *call) {
    diagonal_check_shapes(tape, call, ((const DiagonalModes *)call->attributes)->form);
    const Tensor *C = call->in[DIAGONAL_C];
    tape_output(tape, call, TENSOR_FLOAT, SHAPE(extent(C, 0), 4, extent(C, 1)));
}

static void cost(const OpCall *call, Cost *forward, Cost *backward) {
    const double DM = (double)tensor_size(call->in[DIAGONAL_C]) / 2;
    const double SM = (double)tensor_size(call->in[DIAGONAL_A_REAL]);
    *forward = (Cost){.flops = 24 * DM,
                      .specials = 4 * SM + (double)extent(call->in[DIAGONAL_A_REAL], 0),
                      .bytes_read = 8 * (DM + SM),
                      .bytes_written = 16 * DM};
    *backward = (Cost){0};
}

#define MODES(D, M)                                                                                \
    {SHAPE(D), FILL_UNIFORM, -6, -2}, {SHAPE(D, M), FILL_UNIFORM, -1, 0},                          \
        {SHAPE(D, M), FILL_UNIFORM, 0, 100}, {                                                     \
        SHAPE(D, M, 2), FILL_NORMAL, 1, 0                                                          \
    }

static const DiagonalModes zoh = {{.discretisation = DISCRETISATION_ZOH}},
                           bilinear = {{.discretisation = DISCRETISATION_BILINEAR}},
                           softmax = {{.discretisation = DISCRETISATION_SOFTMAX,
                                       .real = REAL_PLAIN,
                                       .imaginary = IMAGINARY_EXP,
                                       .period = 30}};

static const OpCase cases[] = {
    {.name = "D1M1", .in = {MODES(1, 1)}, .attributes = &zoh, .gradient_free = true},
    {.name = "D37M5Bbilinear",
     .in = {MODES(37, 5), {SHAPE(37, 5, 2), FILL_NORMAL, 1, 0}},
     .attributes = &bilinear,
     .gradient_free = true},
    {.name = "D19M3softmax",
     .in = {{SHAPE(19, 2), FILL_UNIFORM, -4, -2},
            {SHAPE(19, 3), FILL_UNIFORM, -1, 1},
            {SHAPE(19, 3), FILL_UNIFORM, 0, 3},
            {SHAPE(19, 3, 2), FILL_NORMAL, 1, 0}},
     .attributes = &softmax,
     .gradient_free = true},
    {.name = "D19M3Bshared",
     .in = {{SHAPE(1), FILL_UNIFORM, -6, -2},
            {SHAPE(1, 3), FILL_UNIFORM, -1, 0},
            {SHAPE(1, 3), FILL_UNIFORM, 0, 100},
            {SHAPE(19, 3, 2), FILL_NORMAL, 1, 0},
            {SHAPE(1, 3, 2), FILL_NORMAL, 1, 0}},
     .attributes = &zoh,
     .gradient_free = true},
    {.name = "D64M32", .in = {MODES(64, 32)}, .attributes = &zoh, .gradient_free = true},
};

OP_CPU_DECLARE(diagonal_modes);

const Op op_diagonal_modes = {
    .name = "diagonal_modes",
    .summary = "lambdabar and 2 C Bbar of a diagonal state space",
    .inputs = DIAGONAL_INPUTS,
    .outputs = 1,
    .attribute_bytes = sizeof(DiagonalModes),
    .shape = shape,
    .cost = cost,
    .cpu = OP_CPU(diagonal_modes),
    .reference = diagonal_modes_reference,
    OP_CASES(cases),
};

Tensor *diagonal_modes(Tape *tape, DiagonalParameters p, DiagonalForm form) {
    Tensor *const in[] = {p.log_dt, p.A_real, p.A_imag, p.C, p.B};
    return tape_apply(tape, &op_diagonal_modes, in, DIAGONAL_INPUTS, &(DiagonalModes){form})
        ->out[0];
}
