#include <math.h>

#include "engine/ops/rotary/rotary.h"

void rotary_reference(const ReferenceCall *call);

void rotary_reference(const ReferenceCall *call) {
    const Rotary *attributes = call->call->attributes;
    const Tensor *x = call->call->in[0];
    const int64_t L = extent(x, 1), E = extent(x, 2);
    const int64_t d = rotary_turned(attributes);
    const int64_t position = call->call->in[1] ? call->call->in[1]->host_integers[0] : 0;
    for (int64_t row = 0; row < rows_of(x); row++) {
        const double *from = call->in[0] + row * E;
        double *to = call->out[0] + row * E;
        for (int64_t c = 0; c < E; c++) to[c] = from[c];
        for (int64_t h = 0; h < attributes->heads; h++)
            for (int64_t i = 0; i < d / 2; i++) {
                const int64_t t = position + row % L, period = attributes->period;
                const double angle = (double)(period ? t % period : t) *
                                     pow(attributes->theta, -2 * (double)i / (double)d);
                const int64_t a = h * attributes->width + (attributes->interleaved ? 2 * i : i);
                const int64_t b = attributes->interleaved ? a + 1 : a + d / 2;
                to[a] = from[a] * cos(angle) - from[b] * sin(angle);
                to[b] = from[a] * sin(angle) + from[b] * cos(angle);
            }
    }
}
