#include <math.h>

#include "engine/ops/gaussian_mask/gaussian_mask.h"

void gaussian_mask_reference(const ReferenceCall *call);

void gaussian_mask_reference(const ReferenceCall *call) {
    const GaussianMask *attributes = call->call->attributes;
    const int64_t K = extent(call->call->in[0], 0), C = extent(call->call->in[0], 1);
    const double mean = call->in[2][0], deviation = call->in[2][1];
    const double edge = mean - deviation * sqrt(-2 * log((double)attributes->threshold));
    for (int64_t k = 0; k < K; k++) {
        const double apart = (call->in[1][k] - mean) / deviation;
        const bool cropped = fabs(edge) < 1 && call->in[1][k] <= edge;
        for (int64_t c = 0; c < C; c++)
            call->out[0][k * C + c] =
                cropped ? 0 : call->in[0][k * C + c] * exp(-apart * apart / 2);
    }
}
