#include "engine/ops/embedding/embedding.h"

void embedding_reference(const ReferenceCall *call);

void embedding_reference(const ReferenceCall *call) {
    const Tensor *ids = call->call->in[0];
    const Embedding *attributes = call->call->attributes;
    const int64_t width = extent(call->call->in[1], 1);
    for (int64_t r = 0; r < tensor_size(ids); r++)
        for (int64_t d = 0; d < width; d++)
            call->out[0][r * width + d] =
                (double)attributes->factor * call->in[1][ids->host_integers[r] * width + d];
}
