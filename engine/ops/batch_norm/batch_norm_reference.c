#include <math.h>

#include "engine/ops/batch_norm/batch_norm.h"

void batch_norm_reference(const ReferenceCall *call);

void batch_norm_reference(const ReferenceCall *call) {
    const BatchNorm *attributes = call->call->attributes;
    const int64_t rows = rows_of(call->call->in[BATCH_X]), D = extent(call->call->in[BATCH_X], -1);
    const double *x = call->in[BATCH_X];
    for (int64_t d = 0; d < D; d++) {
        double mean = 0, variance = 0;
        if (attributes->running) {
            mean = call->in[BATCH_MEAN][d];
            variance = call->in[BATCH_VARIANCE][d];
        } else {
            for (int64_t r = 0; r < rows; r++) mean += x[r * D + d] / (double)rows;
            for (int64_t r = 0; r < rows; r++)
                variance += (x[r * D + d] - mean) * (x[r * D + d] - mean) / (double)rows;
            call->out[BATCH_ROW_MEAN][d] = mean;
            call->out[BATCH_ROW_VARIANCE][d] = variance;
        }
        const double scale =
            call->in[BATCH_GAMMA][d] / sqrt(variance + (double)attributes->epsilon);
        for (int64_t r = 0; r < rows; r++)
            call->out[BATCH_Y][r * D + d] = (x[r * D + d] - mean) * scale + call->in[BATCH_BETA][d];
    }
}
