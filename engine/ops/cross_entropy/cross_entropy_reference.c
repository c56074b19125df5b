#include <math.h>

#include "engine/ops/cross_entropy/cross_entropy.h"

void cross_entropy_reference(const ReferenceCall *call);

void cross_entropy_reference(const ReferenceCall *call) {
    const int64_t rows = rows_of(call->call->in[0]), width = extent(call->call->in[0], -1);
    const int64_t classes = extent(call->call->in[1], 0);
    const int32_t *class = call->call->in[3]->host_integers;
    const double *x = call->in[0], *table = call->in[1], *bias = call->in[2];
    double loss = 0;
    for (int64_t r = 0; r < rows; r++) {
        double top = -INFINITY, sum = 0, chosen = 0;
        for (int64_t v = 0; v < classes; v++) {
            double logit = bias ? bias[v] : 0;
            for (int64_t d = 0; d < width; d++) logit += x[r * width + d] * table[v * width + d];
            if (logit > top) {
                sum *= exp(top - logit);
                top = logit;
            }
            sum += exp(logit - top);
            if (v == class[r]) chosen = logit;
        }
        call->out[1][r] = top + log(sum) - chosen;
        loss += call->in[4][r] * call->out[1][r];
    }
    call->out[0][0] = loss;
}
