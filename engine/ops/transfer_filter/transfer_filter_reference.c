#include <complex.h>
#include <math.h>
#include <stdlib.h>

#include "engine/memory.h"
#include "engine/ops/transfer_filter/transfer_filter.h"

void transfer_filter_reference(const ReferenceCall *call);

/* sum_n c[n] w^n, n = 1 .. N. */
static double complex polynomial(const double *c, int64_t N, int64_t D, double complex w) {
    double complex sum = 0;
    for (int64_t n = N; n > 0; n--) sum = (sum + c[(n - 1) * D]) * w;
    return sum;
}

void transfer_filter_reference(const ReferenceCall *call) {
    const TransferFilter *attributes = call->call->attributes;
    const int64_t N = extent(call->call->in[0], 0), D = extent(call->call->in[0], 1);
    const int64_t P = attributes->period;
    double complex *const H = memory_take((size_t)P * sizeof *H);
    double complex *const turn = memory_take((size_t)P * sizeof *turn);
    for (int64_t k = 0; k < P; k++) turn[k] = cexp(-2 * M_PI * I * (double)k / (double)P);
    for (int64_t d = 0; d < D; d++) {
        for (int64_t k = 0; k < P; k++)
            H[k] = polynomial(call->in[1] + d, N, D, turn[k]) /
                   (1 + polynomial(call->in[0] + d, N, D, turn[k]));
        for (int64_t t = 0; t < attributes->length; t++) {
            double sum = 0;
            for (int64_t k = 0; k < P; k++) sum += creal(H[k] * conj(turn[k * t % P]));
            call->out[0][t * D + d] = sum / (double)P;
        }
    }
    free(turn);
    free(H);
}
