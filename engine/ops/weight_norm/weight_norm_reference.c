#include <math.h>

#include "engine/ops/weight_norm/weight_norm.h"

void weight_norm_reference(const ReferenceCall *call);

void weight_norm_reference(const ReferenceCall *call) {
    const int64_t I = extent(call->call->out[0], 0), O = extent(call->call->out[0], 1);
    const double *v = call->in[0], *g = v + I * O;
    for (int64_t o = 0; o < O; o++) {
        double square = 0;
        for (int64_t i = 0; i < I; i++) square += v[i * O + o] * v[i * O + o];
        for (int64_t i = 0; i < I; i++)
            call->out[0][i * O + o] = g[o] * v[i * O + o] / sqrt(square);
    }
}
