#include "engine/ops/repeat/repeat.h"

void repeat_reference(const ReferenceCall *call);

void repeat_reference(const ReferenceCall *call) {
    const Repeat *attributes = call->call->attributes;
    const int64_t C = attributes->width, size = tensor_size(call->call->out[0]);
    for (int64_t n = 0; n < size; n++)
        call->out[0][n] = call->in[0][n / (C * attributes->times) * C + n % C];
}
