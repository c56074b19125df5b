#include <math.h>

#include "engine/ops/norm/norm.h"

void norm_reference(const ReferenceCall *call);

void norm_reference(const ReferenceCall *call) {
    const Norm *attributes = call->call->attributes;
    const int64_t rows = rows_of(call->call->in[0]), width = extent(call->call->in[0], -1);
    const double *gamma = call->in[1], *beta = call->in[2];
    for (int64_t r = 0; r < rows; r++) {
        const double *x = call->in[0] + r * width;
        double mean = 0, square = 0;
        if (attributes->kind == NORM_KIND_LAYER)
            for (int64_t d = 0; d < width; d++) mean += x[d] / (double)width;
        for (int64_t d = 0; d < width; d++) square += (x[d] - mean) * (x[d] - mean);
        const double deviation = sqrt(square / (double)width + (double)attributes->epsilon);
        for (int64_t d = 0; d < width; d++)
            call->out[0][r * width + d] =
                (gamma ? gamma[d] : 1) * (x[d] - mean) / deviation + (beta ? beta[d] : 0);
    }
}
