/* Copies of rows. Backward adds the rows of one sample in order; samples and blocks of columns are
 * independent of each other. */
#include "engine/ops/gather_rows/gather_rows.h"

#include <assert.h>

#include "engine/rows_simd.h"

enum { BLOCK_COLUMNS = 64 };

static void forward(const OpCall *call, const Run *run) {
    const float *x = call->in[0]->data;
    const int32_t *positions = call->in[1]->integers;
    float *y = call->out[0]->data;
    const int64_t length = extent(call->in[0], 1), width = extent(call->in[0], 2);
    const int64_t labels = extent(call->in[1], 1), rows = tensor_size(call->in[1]);
#pragma omp parallel for num_threads(run->threads) schedule(static)
    for (int64_t r = 0; r < rows; r++) {
        assert(positions[r] >= 0 && positions[r] < length && "position outside the sequence");
        memcpy(y + r * width, x + (r / labels * length + positions[r]) * width,
               (size_t)width * sizeof *y);
    }
}

static void backward(const OpCall *call, const Run *run) {
    const int32_t *positions = call->in[1]->integers;
    const float *slope = call->out[0]->gradient;
    const GradientTarget target = gradient_target(call, 0);
    const int64_t batch = extent(call->in[0], 0), length = extent(call->in[0], 1);
    const int64_t width = extent(call->in[0], 2), labels = extent(call->in[1], 1);
    if (!target.data) return;
    if (!target.add) rows_zero(target.data, tensor_size(call->in[0]), run->threads);
    const int64_t blocks = (width + BLOCK_COLUMNS - 1) / BLOCK_COLUMNS;
#pragma omp parallel for num_threads(run->threads) schedule(static)
    for (int64_t task = 0; task < batch * blocks; task++) {
        const int64_t b = task / blocks, from = task % blocks * BLOCK_COLUMNS;
        const int64_t n = width - from < BLOCK_COLUMNS ? width - from : BLOCK_COLUMNS;
        for (int64_t r = b * labels; r < (b + 1) * labels; r++)
            row_add_scaled(target.data + (b * length + positions[r]) * width + from,
                           slope + r * width + from, 1.0f, n);
    }
}

const OpKernels ISA(gather_rows_cpu) = {forward, backward};
