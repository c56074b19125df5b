#include <math.h>

#include "engine/ops/gabor/gabor.h"

void gabor_reference(const ReferenceCall *call);

void gabor_reference(const ReferenceCall *call) {
    const int64_t K = extent(call->call->out[0], 0), H = extent(call->call->out[0], 1);
    const double *bank = call->in[1];
    for (int64_t k = 0; k < K; k++)
        for (int64_t h = 0; h < H; h++) {
            const double s = call->in[0][k];
            const double scaled = bank[GABOR_RATE * H + h] * (s - bank[GABOR_CENTRE * H + h]);
            call->out[0][k * H + h] =
                exp(-scaled * scaled / 2) *
                sin(bank[GABOR_FREQUENCY * H + h] * s + bank[GABOR_PHASE * H + h]);
        }
}
