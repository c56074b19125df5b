#include "engine/ops/linear/linear.h"

void linear_reference(const ReferenceCall *call);

void linear_reference(const ReferenceCall *call) {
    const Linear *attributes = call->call->attributes;
    const Tensor *weight = call->call->in[1];
    const int64_t rows = rows_of(call->call->in[0]);
    const int64_t inputs = extent(weight, 0), outputs = extent(weight, 1);
    for (int64_t r = 0; r < rows; r++) {
        const double *x = call->in[0] + r * inputs;
        double *y = call->out[0] + r * outputs;
        for (int64_t o = 0; o < outputs; o++) y[o] = call->in[2] ? call->in[2][o] : 0;
        for (int64_t i = 0; i < inputs; i++)
            for (int64_t o = 0; o < outputs; o++) y[o] += x[i] * call->in[1][i * outputs + o];
        for (int64_t o = 0; o < outputs; o++) {
            const double residual = call->in[3] ? call->in[3][r * outputs + o] : 0;
            y[o] = activation_value(attributes->activation, y[o]) + residual;
        }
    }
}
