#include "engine/ops/repeat/repeat.h"

void repeat_reference(const ReferenceCall *call);

void repeat_reference(const ReferenceCall *call) {
    const Repeat *attributes = call->call->attributes;
    const int64_t rows = extent(call->call->out[0], 0), width = extent(call->call->out[0], 1);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < width; c++)
            call->out[0][r * width + c] = call->in[0][attributes->columns ? r : c];
}
