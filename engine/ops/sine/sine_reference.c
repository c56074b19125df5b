#include <math.h>

#include "engine/ops/sine/sine.h"

void sine_reference(const ReferenceCall *call);

void sine_reference(const ReferenceCall *call) {
    const Tensor *x = call->call->in[0];
    const int64_t width = extent(x, -1);
    for (int64_t i = 0; i < tensor_size(x); i++)
        call->out[0][i] = sin(call->in[1][i % width] * call->in[0][i]);
}
