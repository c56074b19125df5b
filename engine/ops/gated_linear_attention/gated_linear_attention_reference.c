#include <math.h>
#include <stdlib.h>

#include "engine/memory.h"
#include "engine/ops/gated_linear_attention/gated_linear_attention_plan.h"

void gated_linear_attention_reference(const ReferenceCall *reference);

void gated_linear_attention_reference(const ReferenceCall *reference) {
    const OpCall *call = reference->call;
    const GatedLinearAttention *a = call->attributes;
    const GatedPlan p = gated_plan(call);
    const double *const *in = reference->in;
    double *S = memory_take((size_t)p.state * sizeof *S);
    for (int64_t n = 0; n < p.B * p.H; n++) {
        for (int64_t i = 0; i < p.state; i++)
            S[i] = in[GATED_STATE] ? in[GATED_STATE][n * p.state + i] : 0;
        for (int64_t t = 0; t < p.L; t++) {
            const int64_t head = (n / p.H * p.L + t) * p.H + n % p.H;
            const double *q = in[GATED_Q] + head * p.d, *k = in[GATED_K] + head * p.d;
            const double *v = in[GATED_V] + head * p.m, *decay = in[GATED_DECAY] + head * p.d;
            double *out = reference->out[0] + head * p.m;
            for (int64_t e = 0; e < p.m; e++) out[e] = 0;
            for (int64_t c = 0; c < p.d; c++)
                for (int64_t e = 0; e < p.m; e++) {
                    S[c * p.m + e] = exp(decay[c]) * S[c * p.m + e] + k[c] * v[e];
                    out[e] += a->scale * q[c] * S[c * p.m + e];
                }
        }
        for (int64_t i = 0; i < p.state && in[GATED_STATE]; i++)
            reference->out[1][n * p.state + i] = S[i];
    }
    free(S);
}
