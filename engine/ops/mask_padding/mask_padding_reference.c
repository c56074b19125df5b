#include "engine/ops/mask_padding/mask_padding.h"

void mask_padding_reference(const ReferenceCall *call);

void mask_padding_reference(const ReferenceCall *call) {
    const Tensor *x = call->call->in[0], *lengths = call->call->in[1];
    const int64_t L = extent(x, 1), D = extent(x, 2);
    for (int64_t b = 0; b < extent(x, 0); b++)
        for (int64_t t = 0; t < L; t++)
            for (int64_t c = 0; c < D; c++) {
                const int64_t i = (b * L + t) * D + c;
                call->out[0][i] = t < lengths->host_integers[b] ? call->in[0][i] : 0;
            }
}
