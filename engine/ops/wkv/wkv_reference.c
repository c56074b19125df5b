#include <math.h>

#include "engine/ops/wkv/wkv_plan.h"

void wkv_reference(const ReferenceCall *call);

/* p e^o + x e^e, and the same of q, with the larger exponent taken out. */
static void merge(double *p, double *q, double *o, double weight, double x) {
    const double largest = fmax(*o, weight);
    const double old = exp(*o - largest), more = exp(weight - largest);
    *p = old * *p + more * x;
    *q = old * *q + more;
    *o = largest;
}

void wkv_reference(const ReferenceCall *call) {
    const WkvPlan plan = wkv_plan(call->call);
    const int64_t L = plan.L, D = plan.D;
    const double *state = call->in[WKV_STATE];
    for (int64_t n = 0; n < plan.B * D; n++) {
        const int64_t b = n / D, d = n % D, at = b * WKV_PARTS * D + d;
        const double w = -exp(call->in[WKV_DECAY][d]), u = call->in[WKV_U][d];
        double p = 0, q = 0, o = (double)WKV_EMPTY;
        if (state && state[at + WKV_Q * D] > 0) {
            p = state[at + WKV_P * D];
            q = state[at + WKV_Q * D];
            o = state[at + WKV_O * D];
        }
        for (int64_t t = 0; t < L; t++) {
            const int64_t i = (b * L + t) * D + d;
            const double k = call->in[WKV_K][i], v = call->in[WKV_V][i];
            double sum = p, weights = q, exponent = o;
            merge(&sum, &weights, &exponent, u + k, v);
            call->out[0][i] = sum / weights;
            o += w;
            merge(&p, &q, &o, k, v);
        }
        if (!state) continue;
        call->out[1][at + WKV_P * D] = p;
        call->out[1][at + WKV_Q * D] = q;
        call->out[1][at + WKV_O * D] = o;
    }
}
