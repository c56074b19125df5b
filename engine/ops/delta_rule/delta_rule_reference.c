#include <math.h>
#include <stdlib.h>

#include "engine/memory.h"
#include "engine/ops/delta_rule/delta_rule_plan.h"

/* S after a token, and its o. */
static void one_token(const DeltaPlan *p, const double *q, const double *k, const double *v,
                      double beta, double decay, double *state, double *out) {
    for (int64_t c = 0; c < p->m; c++) {
        double found = 0;
        for (int64_t i = 0; i < p->d; i++) found += decay * state[i * p->m + c] * k[i];
        const double correction = beta * (v[c] - found);
        out[c] = 0;
        for (int64_t i = 0; i < p->d; i++) {
            state[i * p->m + c] = decay * state[i * p->m + c] + k[i] * correction;
            out[c] += state[i * p->m + c] * q[i];
        }
    }
}

void delta_rule_reference(const ReferenceCall *reference) {
    const DeltaRule *a = reference->call->attributes;
    const DeltaPlan p = delta_rule_plan(reference->call);
    const double *const *in = reference->in;
    double *state = memory_take((size_t)(p.state + 2 * p.d) * sizeof *state);
    double *q = state + p.state, *k = q + p.d;
    for (int64_t n = 0; n < p.B * p.H; n++) {
        for (int64_t i = 0; i < p.state; i++)
            state[i] = in[DELTA_STATE] ? in[DELTA_STATE][n * p.state + i] : 0;
        for (int64_t t = 0; t < p.L; t++) {
            const int64_t at = (n / p.H * p.L + t) * p.H + n % p.H;
            for (int64_t i = 0; i < p.d; i++) {
                q[i] = a->q_scale * in[DELTA_Q][at * p.d + i];
                k[i] = a->k_scale * in[DELTA_K][at * p.d + i];
            }
            one_token(&p, q, k, in[DELTA_V] + at * p.m, in[DELTA_BETA][at],
                      in[DELTA_DECAY] ? exp(in[DELTA_DECAY][at]) : 1, state,
                      reference->out[0] + at * p.m);
        }
        for (int64_t i = 0; i < p.state && in[DELTA_STATE]; i++)
            reference->out[1][n * p.state + i] = state[i];
    }
    free(state);
}
