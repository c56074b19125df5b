#include "engine/ops/dropout/dropout.h"

void dropout_reference(const ReferenceCall *call);

/* At each position the factors of its sequence are drawn again. */
static void tied(const ReferenceCall *call) {
    const Dropout *attributes = call->call->attributes;
    const int64_t L = extent(call->call->in[0], -2), D = extent(call->call->in[0], -1);
    for (int64_t row = 0; row < rows_of(call->call->in[0]); row++) {
        Random random = {.block = (uint64_t)(row / L * dropout_blocks(D)), .item = call->run->pass};
        dropout_key(call->call, call->run, random.key);
        for (int64_t d = 0; d < D; d++) {
            const bool kept = random_u32(&random) < dropout_bound(attributes);
            const double x = call->in[0][row * D + d];
            call->out[0][row * D + d] = kept ? x / (1 - attributes->rate) : 0;
        }
    }
}

void dropout_reference(const ReferenceCall *call) {
    const Dropout *attributes = call->call->attributes;
    if (attributes->tied && call->run->training) {
        tied(call);
        return;
    }
    Random random = {.item = call->run->pass};
    dropout_key(call->call, call->run, random.key);
    for (int64_t i = 0; i < tensor_size(call->call->in[0]); i++) {
        const bool kept = random_u32(&random) < dropout_bound(attributes);
        const double factor = !call->run->training ? 1 : kept ? 1 / (1 - attributes->rate) : 0;
        call->out[0][i] = factor * call->in[0][i];
    }
}
