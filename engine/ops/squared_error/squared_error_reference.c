#include "engine/ops/squared_error/squared_error.h"

void squared_error_reference(const ReferenceCall *call);

void squared_error_reference(const ReferenceCall *call) {
    double loss = 0;
    for (int64_t r = 0; r < tensor_size(call->call->in[0]); r++) {
        const double error = call->in[0][r] - call->in[1][r];
        call->out[1][r] = error * error;
        loss += call->in[2][r] * error * error;
    }
    call->out[0][0] = loss;
}
