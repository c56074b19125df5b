#include "engine/ops/dense_convolution/dense_convolution.h"

void dense_convolution_reference(const ReferenceCall *call) {
    const Tensor *x = call->call->in[DENSE_CONVOLUTION_X];
    const Tensor *filter = call->call->in[DENSE_CONVOLUTION_FILTER];
    const int64_t B = extent(x, 0), L = extent(x, 1), I = extent(x, 2);
    const int64_t K = extent(filter, 0), O = extent(filter, 2);
    const double *bias = call->in[DENSE_CONVOLUTION_BIAS];
    for (int64_t b = 0; b < B; b++)
        for (int64_t t = 0; t < L; t++) {
            double *y = call->out[0] + (b * L + t) * O;
            for (int64_t o = 0; o < O; o++) y[o] = bias ? bias[o] : 0;
            for (int64_t k = 0; k < K && k <= t; k++) {
                const double *from = call->in[DENSE_CONVOLUTION_X] + (b * L + t - k) * I;
                const double *h = call->in[DENSE_CONVOLUTION_FILTER] + k * I * O;
                for (int64_t i = 0; i < I; i++)
                    for (int64_t o = 0; o < O; o++) y[o] += h[i * O + o] * from[i];
            }
        }
}
