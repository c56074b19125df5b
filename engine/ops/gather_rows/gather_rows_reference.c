#include "engine/ops/gather_rows/gather_rows.h"

void gather_rows_reference(const ReferenceCall *call);

void gather_rows_reference(const ReferenceCall *call) {
    const Tensor *x = call->call->in[0], *positions = call->call->in[1];
    const int64_t length = extent(x, 1), width = extent(x, 2), labels = extent(positions, 1);
    for (int64_t r = 0; r < tensor_size(positions); r++)
        for (int64_t d = 0; d < width; d++)
            call->out[0][r * width + d] =
                call->in[0][(r / labels * length + positions->host_integers[r]) * width + d];
}
