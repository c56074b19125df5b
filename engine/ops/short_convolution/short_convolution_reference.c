#include <math.h>

#include "engine/ops/short_convolution/short_convolution.h"

void short_convolution_reference(const ReferenceCall *call);

void short_convolution_reference(const ReferenceCall *call) {
    const ShortConvolution *attributes = call->call->attributes;
    const Tensor *x = call->call->in[0];
    const int64_t B = extent(x, 0), L = extent(x, 1), E = extent(x, 2);
    const int64_t K = extent(call->call->in[1], 0), H = K - 1;
    const int64_t past = short_convolution_past(attributes, K);
    const double *state = call->in[3];
    for (int64_t b = 0; b < B; b++)
        for (int64_t e = 0; e < E; e++) {
            for (int64_t t = 0; t < L; t++) {
                double sum = call->in[2] ? call->in[2][e] : 0;
                for (int64_t j = 0; j < K; j++) {
                    const int64_t s = t - past + j;
                    double value = 0;
                    if (s >= 0 && s < L)
                        value = call->in[0][(b * L + s) * E + e];
                    else if (s < 0 && state)
                        value = state[(b * H + H + s) * E + e];
                    sum += call->in[1][j * E + e] * value;
                }
                if (attributes->activation == ACTIVATION_SILU) sum /= 1 + exp(-sum);
                call->out[0][(b * L + t) * E + e] = sum;
            }
            for (int64_t i = 0; state && i < H; i++) {
                const int64_t s = L - H + i;
                call->out[1][(b * H + i) * E + e] =
                    s < 0 ? state[(b * H + H + s) * E + e] : call->in[0][(b * L + s) * E + e];
            }
        }
}
