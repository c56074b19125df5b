#include <complex.h>
#include <math.h>

#include "engine/ops/diagonal_scan/diagonal_scan.h"

void diagonal_scan_reference(const ReferenceCall *call) {
    const DiagonalScan *attributes = call->call->attributes;
    const Tensor *v = call->call->in[DIAGONAL_SCAN_V];
    const int64_t L = extent(v, 1), P = extent(v, 2) / 2;
    for (int64_t b = 0; b < extent(v, 0); b++)
        for (int64_t p = 0; p < P; p++) {
            const double A = call->in[DIAGONAL_SCAN_A_REAL][p];
            const double dt = exp(call->in[DIAGONAL_SCAN_LOG_DT][p]);
            const double complex lambda =
                (attributes->form.real == REAL_CLIPPED ? fmin(A, -1e-4) : A) +
                I * call->in[DIAGONAL_SCAN_A_IMAG][p];
            const bool bilinear = attributes->form.discretisation == DISCRETISATION_BILINEAR;
            const double complex half = dt * lambda / 2;
            const double complex step = bilinear ? (1 + half) / (1 - half) : cexp(2 * half);
            const double complex input = bilinear ? dt / (1 - half) : (step - 1) / lambda;
            double complex x = 0;
            if (call->in[DIAGONAL_SCAN_STATE]) {
                const double *first = call->in[DIAGONAL_SCAN_STATE] + b * 2 * P + p;
                x = first[0] + I * first[P];
            }
            for (int64_t k = 0; k < L; k++) {
                const int64_t t = attributes->reverse ? L - 1 - k : k;
                const int64_t at = (b * L + t) * 2 * P + p;
                const double *value = call->in[DIAGONAL_SCAN_V] + at;
                x = step * x + input * (value[0] + I * value[P]);
                call->out[0][at] = creal(x);
                call->out[0][at + P] = cimag(x);
            }
        }
}
