#include <complex.h>
#include <math.h>

#include "engine/ops/diagonal_modes/diagonal_modes.h"

void diagonal_modes_reference(const ReferenceCall *call) {
    const DiagonalModes *attributes = call->call->attributes;
    const int64_t D = extent(call->call->in[DIAGONAL_A_REAL], 0);
    const int64_t M = extent(call->call->in[DIAGONAL_A_REAL], 1);
    for (int64_t d = 0; d < D; d++)
        for (int64_t n = 0; n < M; n++) {
            const int64_t at = d * M + n;
            const double *C = call->in[DIAGONAL_C] + 2 * at;
            const double *B = call->in[DIAGONAL_B] ? call->in[DIAGONAL_B] + 2 * at : NULL;
            const double dt = exp(call->in[DIAGONAL_LOG_DT][d]);
            const double complex lambda =
                -exp(call->in[DIAGONAL_A_REAL][at]) + I * call->in[DIAGONAL_A_IMAG][at];
            const double complex a = dt * lambda;
            const bool zoh = attributes->discretisation == DISCRETISATION_ZOH;
            const double complex step = zoh ? cexp(a) : (1 + a / 2) / (1 - a / 2);
            const double complex input = zoh ? (cexp(a) - 1) / lambda : dt / (1 - a / 2);
            const double complex c = (C[0] + I * C[1]) * input * (B ? B[0] + I * B[1] : 1);
            double *row = call->out[0] + 4 * d * M + n;
            row[0] = creal(step);
            row[M] = cimag(step);
            row[2 * M] = 2 * creal(c);
            row[3 * M] = -2 * cimag(c);
        }
}
