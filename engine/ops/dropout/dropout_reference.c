#include "engine/ops/dropout/dropout.h"

void dropout_reference(const ReferenceCall *call);

void dropout_reference(const ReferenceCall *call) {
    const Dropout *attributes = call->call->attributes;
    Random random = {.item = call->run->pass};
    dropout_key(call->call, call->run, random.key);
    for (int64_t i = 0; i < tensor_size(call->call->in[0]); i++) {
        const bool kept = random_u32(&random) < dropout_bound(attributes);
        const double factor = !call->run->training ? 1 : kept ? 1 / (1 - attributes->rate) : 0;
        call->out[0][i] = factor * call->in[0][i];
    }
}
