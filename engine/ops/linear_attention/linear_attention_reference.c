#include <math.h>
#include <stdlib.h>

#include "engine/memory.h"
#include "engine/ops/linear_attention/linear_attention_plan.h"

void linear_attention_reference(const ReferenceCall *reference);

static double feature_of(FeatureMap feature, double x) {
    if (feature == FEATURE_ELU) return x > 0 ? x + 1 : exp(x);
    return feature == FEATURE_RELU && x < 0 ? 0 : x;
}

/* S and z, decayed, plus one token's key and value. */
static void add_token(const LinearAttention *a, double decay, double gain, const double *k,
                      const double *v, double *state) {
    const int64_t d = a->key_width, m = a->value_width;
    for (int64_t i = 0; i < d; i++) {
        const double key = gain * feature_of(a->feature, k[i]);
        for (int64_t c = 0; c < m; c++) state[i * m + c] = decay * state[i * m + c] + key * v[c];
        if (a->normalise) state[d * m + i] = decay * state[d * m + i] + key;
    }
}

static void read_state(const LinearAttention *a, const double *q, const double *state,
                       double *out) {
    const int64_t d = a->key_width, m = a->value_width;
    double denominator = a->epsilon;
    for (int64_t c = 0; c < m; c++) out[c] = 0;
    for (int64_t i = 0; i < d; i++) {
        const double query = a->scale * feature_of(a->feature, q[i]);
        for (int64_t c = 0; c < m; c++) out[c] += query * state[i * m + c];
        if (a->normalise) denominator += query * state[d * m + i];
    }
    for (int64_t c = 0; c < m && a->normalise; c++) out[c] /= denominator;
}

/* Token by token; bidirectional first all keys, then all queries. */
void linear_attention_reference(const ReferenceCall *reference) {
    const OpCall *call = reference->call;
    const LinearAttention *a = call->attributes;
    const LinearPlan p = linear_attention_plan(call);
    const Tensor *lengths = call->in[LINEAR_LENGTHS];
    const double *const *in = reference->in;
    double *state = memory_take((size_t)p.state * sizeof *state);
    for (int64_t n = 0; n < p.B * p.H; n++) {
        const int64_t b = n / p.H, h = n % p.H, g = h / (p.H / p.G) * p.d;
        const int64_t keys = linear_attention_keys(&p, lengths ? lengths->host_integers : NULL, b);
        for (int64_t i = 0; i < p.state; i++)
            state[i] = in[LINEAR_STATE] ? in[LINEAR_STATE][n * p.state + i] : 0;
        for (int64_t step = 0; step < (a->causal ? 1 : 2) * p.L; step++) {
            const int64_t t = step % p.L, row = b * p.L + t, at = row * p.H + h;
            const double decay = in[LINEAR_DECAY] ? exp(in[LINEAR_DECAY][p.constant ? h : at]) : 1;
            const double gain = in[LINEAR_GAIN] ? in[LINEAR_GAIN][at] : 1;
            const double *v = in[p.v_input] + p.v_column + row * p.v_row + h * p.m;
            double *out = reference->out[0] + at * p.m;
            if (step < p.L && t < keys)
                add_token(a, decay, gain, in[p.k_input] + p.k_column + row * p.k_row + g, v, state);
            if (a->causal || step >= p.L)
                read_state(a, in[p.q_input] + row * p.q_row + g, state, out);
            for (int64_t c = 0; c < p.m && in[LINEAR_SKIP]; c++)
                out[c] += in[LINEAR_SKIP][h] * v[c];
        }
        for (int64_t i = 0; i < p.state && in[LINEAR_STATE]; i++)
            reference->out[1][n * p.state + i] = state[i];
    }
    free(state);
}
