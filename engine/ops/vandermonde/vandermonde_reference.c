#include <complex.h>
#include <math.h>

#include "engine/ops/vandermonde/vandermonde.h"

void vandermonde_reference(const ReferenceCall *call) {
    const Vandermonde *attributes = call->call->attributes;
    const int64_t D = extent(call->call->in[DIAGONAL_A_REAL], 0);
    const int64_t M = extent(call->call->in[DIAGONAL_A_REAL], 1);
    for (int64_t l = 0; l < attributes->length * D; l++) call->out[0][l] = 0;
    for (int64_t d = 0; d < D; d++)
        for (int64_t n = 0; n < M; n++) {
            const int64_t at = d * M + n;
            const double *c = call->in[DIAGONAL_C] + 2 * at;
            const double *b = call->in[DIAGONAL_B] ? call->in[DIAGONAL_B] + 2 * at : NULL;
            const double dt = exp(call->in[DIAGONAL_LOG_DT][d]);
            const double complex lambda =
                -exp(call->in[DIAGONAL_A_REAL][at]) + I * call->in[DIAGONAL_A_IMAG][at];
            const double complex a = dt * lambda;
            const bool zoh = attributes->discretisation == DISCRETISATION_ZOH;
            const double complex step = zoh ? cexp(a) : (1 + a / 2) / (1 - a / 2);
            const double complex input = zoh ? (cexp(a) - 1) / lambda : dt / (1 - a / 2);
            double complex term = (c[0] + I * c[1]) * input * (b ? b[0] + I * b[1] : 1);
            for (int64_t l = 0; l < attributes->length; l++, term *= step)
                call->out[0][l * D + d] += 2 * creal(term);
        }
}
