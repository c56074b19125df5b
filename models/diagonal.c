#include "models/diagonal.h"

#include <math.h>
#include <stdlib.h>

#include "engine/memory.h"
#include "engine/ops/diagonal_step/diagonal_step.h"
#include "engine/ops/long_convolution/long_convolution.h"
#include "models/hippo_matrix.h"

Tensor *diagonal_token(Tape *tape, Tensor *table, Tensor *u, Tensor *skip) {
    const Shape shape = SHAPE(extent(u, 0), extent(u, 2), 2, extent(table, 2));
    Tensor *next;
    Tensor *y = diagonal_step(tape, tape_carry(tape, "state", shape), u, table, skip, &next);
    tape_carry_out(tape, "state", next);
    return y;
}

Tensor *diagonal_convolution(Tape *tape, DiagonalParameters modes, DiagonalForm form,
                             Tensor *C_ahead, Tensor *u, Tensor *skip) {
    const int64_t L = extent(u, 1);
    Tensor *kernel = vandermonde(tape, modes, form, L), *ahead = NULL;
    if (C_ahead) {
        modes.C = C_ahead;
        ahead = vandermonde(tape, modes, form, L);
    }
    return long_convolution(tape, u, kernel, ahead, (ConvolutionGates){.skip = skip});
}

Init diagonal_lin_real(void) {
    return init_constant(log(0.5));
}

static void fill_lin(float *A_imag, const Shape *shape, Random *random, double a, double b) {
    (void)random, (void)a, (void)b;
    const int64_t M = shape->extent[shape->rank - 1];
    for (int64_t i = 0; i < shape_size(shape); i++) A_imag[i] = (float)(M_PI * (double)(i % M));
}

Init diagonal_lin_imaginary(void) {
    return init_fill(fill_lin, 0, 0);
}

Init diagonal_complex_normal(void) {
    return init_normal(sqrt(0.5));
}

static void fill_hippo(float *A_imag, const Shape *shape, Random *random, double side,
                       double blocks) {
    (void)random;
    const bool both = (int)side == HIPPO_BOTH;
    const int64_t M = shape->extent[shape->rank - 1] / (int64_t)blocks; /* of a block */
    const int64_t pairs = both ? M / 2 : M;
    double *modes = memory_take((size_t)(6 * pairs) * sizeof *modes); /* lambda, P, B */
    hippo_modes(HIPPO_LEGS, 2 * pairs, modes, modes + 2 * pairs, modes + 4 * pairs);
    for (int64_t i = 0; i < shape_size(shape); i++) {
        const int64_t n = i % M, pair = n < pairs ? n : M - 1 - n;
        const bool negative = both ? n < pairs : (int)side == HIPPO_NEGATIVE;
        A_imag[i] = (float)(negative ? -modes[2 * pair + 1] : modes[2 * pair + 1]);
    }
    free(modes);
}

Init diagonal_hippo_imaginary(HippoSide side, int64_t blocks) {
    return init_fill(fill_hippo, (double)side, (double)blocks);
}

static void fill_hippo_input(float *B, const Shape *shape, Random *random, double a, double b) {
    (void)random, (void)a, (void)b;
    const int64_t M = shape->extent[shape->rank - 2];
    double *modes = memory_take((size_t)(6 * M) * sizeof *modes); /* lambda, P, B */
    hippo_modes(HIPPO_LEGS, 2 * M, modes, modes + 2 * M, modes + 4 * M);
    for (int64_t i = 0; i < shape_size(shape); i++) B[i] = (float)modes[4 * M + i % (2 * M)];
    free(modes);
}

Init diagonal_hippo_input(void) {
    return init_fill(fill_hippo_input, 0, 0);
}

static void fill_complex_ones(float *B, const Shape *shape, Random *random, double a, double b) {
    (void)random, (void)a, (void)b;
    for (int64_t i = 0; i < shape_size(shape); i++) B[i] = i % 2 ? 0 : 1;
}

DiagonalParameters diagonal_trained(Tape *tape, const StateSpace *own, int64_t D, int64_t M) {
    const Group slow = state_space_group(own);
    return (DiagonalParameters){
        .log_dt = state_space_log_dt(tape, own, D),
        .A_real = tape_parameter(tape, "A_real", SHAPE(D, M), diagonal_lin_real(), slow),
        .A_imag = tape_parameter(tape, "A_imag", SHAPE(D, M), diagonal_lin_imaginary(), slow),
        .C = tape_parameter(tape, "C", SHAPE(D, M, 2), diagonal_complex_normal(), GROUP_DECAY),
        .B = tape_parameter(tape, "B", SHAPE(D, M, 2), init_fill(fill_complex_ones, 0, 0), slow)};
}
