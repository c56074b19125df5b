#include "engine/ops/diagonal_step/diagonal_step.h"

void diagonal_step_reference(const ReferenceCall *call) {
    const Tensor *u = call->call->in[DIAGONAL_STEP_U];
    const int64_t D = extent(u, 2), M = extent(call->call->in[DIAGONAL_STEP_MODES], 2);
    for (int64_t i = 0; i < extent(u, 0) * D; i++) {
        const double *modes = call->in[DIAGONAL_STEP_MODES] + 4 * (i % D) * M;
        const double *skip = call->in[DIAGONAL_STEP_SKIP];
        const double input = call->in[DIAGONAL_STEP_U][i];
        double *re = call->out[0] + 2 * i * M, *im = re + M; /* the state itself */
        double sum = skip ? skip[i % D] * input : 0;
        for (int64_t n = 0; n < M; n++) {
            const double x = re[n], y = im[n];
            re[n] = modes[n] * x - modes[M + n] * y + input;
            im[n] = modes[n] * y + modes[M + n] * x;
            sum += modes[2 * M + n] * re[n] + modes[3 * M + n] * im[n];
        }
        call->out[1][i] = sum;
    }
}
