#include <math.h>

#include "engine/ops/mlstm/mlstm.h"
#include "engine/ops/mlstm_step/mlstm_step.h"

void mlstm_step_reference(const ReferenceCall *call) {
    const Tensor *C = call->call->in[MLSTM_STEP_C];
    const int64_t H = extent(C, 1), dk = extent(C, 2), dv = extent(C, 3);
    for (int64_t unit = 0; unit < extent(C, 0) * H; unit++) {
        const double *gates = call->in[MLSTM_STEP_GATES] + unit / H * 2 * H + unit % H;
        const double f = gates[H], before = call->in[MLSTM_STEP_M][unit];
        const double log_f = f < 0 ? f - log1p(exp(f)) : -log1p(exp(-f));
        const double m = fmax(log_f + before, gates[0]), s = 1 / sqrt((double)dk);
        const double keep = exp(log_f + before - m), add = exp(gates[0] - m);
        const double *q = call->in[MLSTM_STEP_Q] + unit * dk,
                     *k = call->in[MLSTM_STEP_K] + unit * dk;
        double *state = call->out[MLSTM_STEP_C_NEXT] + unit * dk * dv; /* the input itself */
        double *h = call->out[MLSTM_STEP_H] + unit * dv, dot = 0;
        for (int64_t c = 0; c < dv; c++) h[c] = 0;
        for (int64_t a = 0; a < dk; a++) {
            double *n = call->out[MLSTM_STEP_N_NEXT] + unit * dk + a;
            *n = keep * call->in[MLSTM_STEP_N][unit * dk + a] + add * k[a];
            dot += s * q[a] * *n;
            for (int64_t c = 0; c < dv; c++) {
                double *entry = state + a * dv + c;
                *entry = keep * *entry + add * k[a] * call->in[MLSTM_STEP_V][unit * dv + c];
                h[c] += s * q[a] * *entry;
            }
        }
        for (int64_t c = 0; c < dv; c++) h[c] /= fmax(fabs(dot), exp(-m)) + (double)MLSTM_EPSILON;
        call->out[MLSTM_STEP_M_NEXT][unit] = m;
    }
}
