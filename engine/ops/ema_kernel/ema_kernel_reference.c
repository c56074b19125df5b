#include <math.h>

#include "engine/ops/ema_kernel/ema_kernel.h"

void ema_kernel_reference(const ReferenceCall *call);

static double sigmoid(double x) {
    return 1 / (1 + exp(-x));
}

void ema_kernel_reference(const ReferenceCall *call) {
    const EmaKernel *attributes = call->call->attributes;
    const int64_t N = extent(call->call->in[EMA_DELTA], 0);
    const int64_t D = extent(call->call->in[EMA_DELTA], 1);
    double *out = call->out[0];
    for (int64_t i = 0; i < attributes->length * D; i++) out[i] = 0;
    for (int64_t n = 0; n < N; n++)
        for (int64_t d = 0; d < D; d++) {
            const int64_t at = n * D + d;
            const double p = sigmoid(call->in[EMA_DELTA][at]);
            const double q = 1 - p * sigmoid(call->in[EMA_ALPHA][at]);
            const double c = p * call->in[EMA_BETA][at] * call->in[EMA_GAMMA][at] / sqrt((double)N);
            double power = pow(q, (double)attributes->first);
            for (int64_t l = 0; l < ema_rows(attributes); l++, power *= q)
                out[l * D + d] += c * power;
            if (attributes->length) continue;
            out[(d * 4 + 0) * N + n] = q;
            out[(d * 4 + 1) * N + n] = 0;
            out[(d * 4 + 2) * N + n] = c;
            out[(d * 4 + 3) * N + n] = 0;
        }
}
