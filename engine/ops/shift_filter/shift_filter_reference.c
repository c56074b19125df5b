#include "engine/ops/shift_filter/shift_filter.h"

void shift_filter_reference(const ReferenceCall *call);

void shift_filter_reference(const ReferenceCall *call) {
    const ShiftFilter *attributes = call->call->attributes;
    const int64_t N = extent(call->call->in[0], 0), D = extent(call->call->in[0], 1);
    for (int64_t j = 0; j < attributes->taps; j++)
        for (int64_t d = 0; d < D; d++) {
            double sum = 0;
            for (int64_t m = 0; m + j < N; m++)
                sum += call->in[0][m * D + d] * call->in[1][(m + j) * D + d];
            call->out[0][j * D + d] = sum;
        }
}
