#include "models/diagonal.h"

#include <math.h>

#include "engine/ops/diagonal_modes/diagonal_modes.h"
#include "engine/ops/diagonal_step/diagonal_step.h"

Tensor *diagonal_token(Tape *tape, DiagonalParameters modes, Discretisation discretisation,
                       Tensor *u, Tensor *skip) {
    const Shape shape = SHAPE(extent(u, 0), extent(u, 2), 2, extent(modes.A_real, 1));
    Tensor *table = diagonal_modes(tape, modes, discretisation), *next;
    Tensor *y = diagonal_step(tape, tape_carry(tape, "state", shape), u, table, skip, &next);
    tape_carry_out(tape, "state", next);
    return y;
}

Init diagonal_lin_real(void) {
    return init_constant(log(0.5));
}

static void fill_lin(float *A_imag, const Shape *shape, Random *random, double a, double b) {
    (void)random, (void)a, (void)b;
    const int64_t M = shape->extent[1];
    for (int64_t i = 0; i < shape->extent[0] * M; i++) A_imag[i] = (float)(M_PI * (double)(i % M));
}

Init diagonal_lin_imaginary(void) {
    return init_fill(fill_lin, 0, 0);
}

Init diagonal_complex_normal(void) {
    return init_normal(sqrt(0.5));
}
