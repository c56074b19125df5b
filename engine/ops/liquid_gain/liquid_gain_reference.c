/* The recursion of v^(p) as it stands. */
#include <complex.h>
#include <math.h>
#include <stdlib.h>

#include "engine/memory.h"
#include "engine/ops/liquid_gain/liquid_gain.h"

void liquid_gain_reference(const ReferenceCall *call) {
    const LiquidGain *attributes = call->call->attributes;
    const int64_t D = extent(call->call->in[LIQUID_LOG_DT], 0),
                  S = extent(call->call->in[LIQUID_A_REAL], 0);
    const int64_t M = extent(call->call->in[LIQUID_A_REAL], 1);
    double complex *v = memory_take((size_t)M * sizeof *v);
    for (int64_t d = 0; d < D; d++) {
        const double dt = exp(call->in[LIQUID_LOG_DT][d]);
        for (int64_t n = 0; n < M; n++) {
            const int64_t at = d % S * M + n;
            const double *B = call->in[LIQUID_B] + 2 * at;
            const double complex lambda =
                -exp(call->in[LIQUID_A_REAL][at]) + I * call->in[LIQUID_A_IMAG][at];
            v[n] = dt * (B[0] + I * B[1]) / (1 - dt * lambda / 2);
        }
        for (int p = 2; p <= attributes->degree; p++) {
            double sum = 0;
            for (int64_t n = 0; n < M; n++) sum += 2 * creal(v[n]);
            for (int64_t n = 0; n < M; n++) v[n] *= sum;
        }
        call->out[0][d] = 0;
        for (int64_t n = 0; n < M; n++) {
            const double *C = call->in[LIQUID_C] + 2 * (d * M + n);
            call->out[0][d] += 2 * creal((C[0] + I * C[1]) * v[n]);
        }
    }
    free(v);
}
