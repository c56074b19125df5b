#include "engine/ops/pointwise/pointwise.h"

void pointwise_reference(const ReferenceCall *call);

void pointwise_reference(const ReferenceCall *call) {
    const Pointwise *attributes = call->call->attributes;
    const double *a = call->in[0], *b = call->in[1];
    const int64_t n = tensor_size(call->call->out[0]);
    for (int64_t i = 0; i < n; i++) {
        double y = 0;
        switch (attributes->function) {
        case POINTWISE_ADD:
            y = a[i] + b[i];
            break;
        case POINTWISE_MULTIPLY:
            y = a[i] * b[i];
            break;
        case POINTWISE_GATE:
            y = a[i] * activation_value(attributes->activation, b[i]);
            break;
        case POINTWISE_ACTIVATE:
            y = activation_value(attributes->activation, a[i]);
            break;
        case POINTWISE_SCALE:
            y = (double)attributes->factor * a[i];
            break;
        case POINTWISE_COUNT:
            break;
        }
        call->out[0][i] = y;
    }
}
