#include <stdlib.h>

#include "engine/ops/taylor_attention/taylor_plan.h"

/* Token by token: every weight by its definition, and the state by its features. */
static void add_token(const TaylorPlan *p, const double *k, const double *v, double *state) {
    double *z = state + p->F * p->m;
    int64_t f = 0;
    for (int64_t a = -1; a < p->d; a++)
        for (int64_t b = a < 0 ? -1 : a; b < p->d; b++, f++) {
            const double feature = (a < 0 ? 1 : k[a]) * (b < 0 ? 1 : k[b]);
            for (int64_t c = 0; c < p->m; c++) state[f * p->m + c] += feature * v[c];
            z[f] += feature;
        }
}

/* What the state before the sequence adds to a token's sums, and returns for its denominator. */
static double read_state(const TaylorPlan *p, const double *q, const double *state, double *out) {
    const double *z = state + p->F * p->m;
    double denominator = 0;
    int64_t f = 0;
    for (int64_t a = -1; a < p->d; a++)
        for (int64_t b = a < 0 ? -1 : a; b < p->d; b++, f++) {
            double feature = a >= 0 && a == b ? 0.5 : 1;
            if (a >= 0) feature *= q[a] * sqrt(1 / (double)p->d);
            if (b >= 0) feature *= q[b] * sqrt(1 / (double)p->d);
            for (int64_t c = 0; c < p->m; c++) out[c] += feature * state[f * p->m + c];
            denominator += feature * z[f];
        }
    return denominator;
}

void taylor_attention_reference(const ReferenceCall *reference) {
    const TaylorAttention *a = reference->call->attributes;
    const TaylorPlan p = taylor_plan(reference->call);
    const double *qkv = reference->in[TAYLOR_QKV], *start = reference->in[TAYLOR_STATE];
    for (int64_t n = 0; n < p.B * p.H; n++) {
        const int64_t b = n / p.H, h = n % p.H;
        for (int64_t i = 0; i < p.L; i++) {
            const double *q = qkv + taylor_q(&p, b, i, h);
            double *out = reference->out[0] + taylor_out(&p, b, i, h), denominator = a->epsilon;
            for (int64_t c = 0; c < p.m; c++) out[c] = 0;
            if (start) denominator += read_state(&p, q, start + n * p.state, out);
            for (int64_t j = 0; j <= i; j++) {
                const double *k = qkv + taylor_k(&p, b, j, h), *v = qkv + taylor_v(&p, b, j, h);
                double s = 0;
                for (int64_t c = 0; c < p.d; c++) s += q[c] * k[c] / sqrt((double)p.d);
                const double weight = 1 + s + s * s / 2;
                for (int64_t c = 0; c < p.m; c++) out[c] += weight * v[c];
                denominator += weight;
            }
            for (int64_t c = 0; c < p.m; c++) out[c] /= denominator;
        }
        if (!start) continue;
        double *state = reference->out[1] + n * p.state;
        for (int64_t i = 0; i < p.state; i++) state[i] = start[n * p.state + i];
        for (int64_t i = 0; i < p.L; i++)
            add_token(&p, qkv + taylor_k(&p, b, i, h), qkv + taylor_v(&p, b, i, h), state);
    }
}
