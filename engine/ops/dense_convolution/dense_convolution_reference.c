#include <stdlib.h>

#include "engine/memory.h"
#include "engine/ops/dense_convolution/dense_convolution.h"

void dense_convolution_reference(const ReferenceCall *call) {
    const Tensor *x = call->call->in[DENSE_CONVOLUTION_X];
    const Tensor *filter = call->call->in[DENSE_CONVOLUTION_FILTER];
    const int64_t B = extent(x, 0), L = extent(x, 1), I = extent(x, 2);
    const int64_t K = extent(filter, 0), O = extent(filter, 2);
    const double *bias = call->in[DENSE_CONVOLUTION_BIAS];
    double *from = memory_take((size_t)(2 * L) * sizeof *from),
           *y = from + L; /* a channel of each */
    for (int64_t b = 0; b < B; b++)
        for (int64_t o = 0; o < O; o++) {
            for (int64_t t = 0; t < L; t++) y[t] = bias ? bias[o] : 0;
            for (int64_t i = 0; i < I; i++) {
                const double *h = call->in[DENSE_CONVOLUTION_FILTER] + i * O + o;
                for (int64_t t = 0; t < L; t++)
                    from[t] = call->in[DENSE_CONVOLUTION_X][(b * L + t) * I + i];
                for (int64_t k = 0; k < K && k < L; k++)
                    for (int64_t t = k; t < L; t++) y[t] += h[k * I * O] * from[t - k];
            }
            for (int64_t t = 0; t < L; t++) call->out[0][(b * L + t) * O + o] = y[t];
        }
    free(from);
}
