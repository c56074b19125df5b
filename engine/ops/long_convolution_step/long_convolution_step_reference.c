#include "engine/ops/long_convolution_step/long_convolution_step.h"

void long_convolution_step_reference(const ReferenceCall *call);

void long_convolution_step_reference(const ReferenceCall *call) {
    const Tensor *cache = call->call->in[0];
    const int64_t length = extent(cache, 1), width = extent(cache, 2);
    const int64_t taps = extent(call->call->in[1], 0);
    const int64_t position = call->call->in[3]->host_integers[0];
    for (int64_t b = 0; b < extent(cache, 0); b++)
        for (int64_t c = 0; c < width; c++) {
            const double *x = call->in[0] + b * length * width + c;
            double sum = call->in[2][c] * x[position % length * width];
            for (int64_t s = 0; s <= position; s++)
                if (position - s < taps)
                    sum += call->in[1][(position - s) * width + c] * x[s % length * width];
            call->out[0][b * width + c] = sum;
        }
}
