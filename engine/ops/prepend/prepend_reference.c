#include "engine/ops/prepend/prepend.h"

void prepend_reference(const ReferenceCall *call);

void prepend_reference(const ReferenceCall *call) {
    const Tensor *x = call->call->in[0];
    const int64_t K = extent(call->call->in[1], 0), L = extent(x, 1), D = extent(x, 2);
    for (int64_t b = 0; b < extent(x, 0); b++)
        for (int64_t t = 0; t < K + L; t++)
            for (int64_t d = 0; d < D; d++)
                call->out[0][(b * (K + L) + t) * D + d] =
                    t < K ? call->in[1][t * D + d] : call->in[0][(b * L + t - K) * D + d];
}
