#include "engine/ops/channel_gain/channel_gain.h"

void channel_gain_reference(const ReferenceCall *call) {
    const Tensor *a = call->call->in[GAIN_A];
    const int64_t D = extent(a, -1);
    for (int64_t i = 0; i < tensor_size(a); i++) {
        double y = call->in[GAIN_A][i] * call->in[GAIN_U][i % D];
        if (call->in[GAIN_V])
            y += (call->in[GAIN_B] ? call->in[GAIN_B][i] : 1) * call->in[GAIN_V][i % D];
        call->out[0][i] = y;
    }
}
