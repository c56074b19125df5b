#include "engine/ops/pool/pool.h"

void pool_reference(const ReferenceCall *call);

void pool_reference(const ReferenceCall *call) {
    const Pool *attributes = call->call->attributes;
    const Tensor *x = call->call->in[0];
    const Tensor *lengths = call->call->inputs > 1 ? call->call->in[1] : NULL;
    const int64_t longest = extent(x, 1), width = extent(x, 2);
    for (int64_t b = 0; b < extent(x, 0); b++) {
        const int64_t length = lengths ? lengths->host_integers[b] : longest;
        const int64_t first = attributes->pooling == POOL_LAST ? length - 1 : 0;
        const int64_t end = attributes->pooling == POOL_FIRST ? 1 : length;
        for (int64_t d = 0; d < width; d++) {
            double sum = 0;
            for (int64_t t = first; t < end; t++) sum += call->in[0][(b * longest + t) * width + d];
            call->out[0][b * width + d] = sum / (double)(end - first);
        }
    }
}
