#include <math.h>

#include "engine/ops/rg_lru/rg_lru_plan.h"

void rg_lru_reference(const ReferenceCall *call);

static double sigmoid(double x) {
    return 1 / (1 + exp(-x));
}

void rg_lru_reference(const ReferenceCall *call) {
    const Tensor *x = call->call->in[RG_LRU_X], *position = call->call->in[RG_LRU_POSITION];
    const int64_t L = extent(x, 1), E = extent(x, 2);
    const double *const *in = call->in;
    for (int64_t b = 0; b < extent(x, 0); b++)
        for (int64_t e = 0; e < E; e++) {
            double h = in[RG_LRU_STATE] ? in[RG_LRU_STATE][b * E + e] : 0;
            for (int64_t t = 0; t < L; t++) {
                const int64_t n = (b * L + t) * E + e;
                const double r = sigmoid(in[RG_LRU_RECURRENCE][n] + in[RG_LRU_RECURRENCE_BIAS][e]);
                const double i = sigmoid(in[RG_LRU_INPUT][n] + in[RG_LRU_INPUT_BIAS][e]);
                const double log_a = -8 * r * log1p(exp(in[RG_LRU_LAMBDA][e]));
                const bool first =
                    t == 0 && rg_lru_begins(position ? position->host_integers : NULL);
                h = first ? 0 : exp(log_a) * h;
                h += (first ? 1 : sqrt(-expm1(2 * log_a))) * i * in[RG_LRU_X][n];
                call->out[0][n] = h;
            }
        }
}
