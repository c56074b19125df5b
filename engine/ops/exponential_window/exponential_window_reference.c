#include <math.h>

#include "engine/ops/exponential_window/exponential_window.h"

void exponential_window_reference(const ReferenceCall *call);

void exponential_window_reference(const ReferenceCall *call) {
    const ExponentialWindow *attributes = call->call->attributes;
    const int64_t rows = extent(call->call->in[0], 0), width = extent(call->call->in[0], 1);
    const double last = attributes->max_length > 1 ? (double)(attributes->max_length - 1) : 1;
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < width; c++)
            call->out[0][r * width + c] =
                call->in[0][r * width + c] *
                (exp(-fabs(call->in[1][c]) * (double)r / last) + (double)attributes->shift);
}
