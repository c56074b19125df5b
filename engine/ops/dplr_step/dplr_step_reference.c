#include <complex.h>

#include "engine/ops/dplr_step/dplr_step.h"

void dplr_step_reference(const ReferenceCall *call) {
    const Tensor *u = call->call->in[DPLR_STEP_U], *modes = call->call->in[DPLR_STEP_MODES];
    const int64_t D = extent(u, 2), rows = extent(modes, 1), M = extent(modes, 2),
                  R = (rows - 6) / 4;
    for (int64_t i = 0; i < extent(u, 0) * D; i++) {
        const double *own = call->in[DPLR_STEP_MODES] + i % D * rows * M;
        const double *skip = call->in[DPLR_STEP_SKIP];
        const double input = call->in[DPLR_STEP_U][i];
        double *re = call->out[0] + 2 * i * M, *im = re + M; /* the state itself */
        double dot[2] = {0}, sum = skip ? skip[i % D] * input : 0;
        for (int64_t n = 0; n < M; n++) {
            const double complex E = own[n] + I * own[M + n],
                                 b = own[2 * M + n] + I * own[3 * M + n];
            const double complex x = re[n] + I * im[n], w = E * x + b * input;
            for (int64_t r = 0; r < R; r++)
                dot[r] += own[(4 + 4 * r) * M + n] * creal(w) + own[(5 + 4 * r) * M + n] * cimag(w);
            re[n] = creal(w - x);
            im[n] = cimag(w - x);
        }
        for (int64_t n = 0; n < M; n++) {
            for (int64_t r = 0; r < R; r++) {
                re[n] -= own[(6 + 4 * r) * M + n] * dot[r];
                im[n] -= own[(7 + 4 * r) * M + n] * dot[r];
            }
            sum += own[(4 + 4 * R) * M + n] * re[n] + own[(5 + 4 * R) * M + n] * im[n];
        }
        call->out[1][i] = sum;
    }
}
