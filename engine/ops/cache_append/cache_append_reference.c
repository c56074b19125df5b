#include "engine/ops/cache_append/cache_append.h"

void cache_append_reference(const ReferenceCall *call);

void cache_append_reference(const ReferenceCall *call) {
    const CacheAppend *attributes = call->call->attributes;
    const Tensor *cache = call->call->in[0], *x = call->call->in[1];
    const int64_t width = extent(cache, 2);
    int64_t position = call->call->in[2]->host_integers[0];
    if (attributes->ring) position %= extent(cache, 1);
    if (position >= extent(cache, 1)) return;
    for (int64_t b = 0; b < extent(cache, 0); b++)
        for (int64_t c = 0; c < width; c++)
            call->out[0][(b * extent(cache, 1) + position) * width + c] =
                call->in[1][b * extent(x, 2) + attributes->column + c];
}
