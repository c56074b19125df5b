/* Copies and additions of rows: bound by memory. Backward gives each thread a range of columns, so
 * that every element of the table receives its additions in the order of the rows. */
#include "engine/ops/embedding/embedding.h"

#include <assert.h>

#include "engine/rows_simd.h"

enum { BLOCK_ROWS = 256, BLOCK_COLUMNS = 16 };

static void forward(const OpCall *call, const Run *run) {
    const Embedding *attributes = call->attributes;
    const int32_t *ids = call->in[0]->integers;
    const float *table = call->in[1]->data;
    float *y = call->out[0]->data;
    const int64_t rows = tensor_size(call->in[0]);
    const int64_t size = extent(call->in[1], 0), width = extent(call->in[1], 1);
#pragma omp parallel for num_threads(run->threads) schedule(static)
    for (int64_t first = 0; first < rows; first += BLOCK_ROWS) {
        const int64_t end = rows - first < BLOCK_ROWS ? rows : first + BLOCK_ROWS;
        for (int64_t r = first; r < end; r++) {
            assert(ids[r] >= 0 && ids[r] < size && "id outside the table");
            row_scale(y + r * width, table + ids[r] * width, attributes->factor, width);
        }
    }
}

static void backward(const OpCall *call, const Run *run) {
    const Embedding *attributes = call->attributes;
    const int32_t *ids = call->in[0]->integers;
    const float *slope = call->out[0]->gradient;
    const GradientTarget target = gradient_target(call, 1);
    const int64_t rows = tensor_size(call->in[0]), width = extent(call->in[1], 1);
    if (!target.data) return;
    if (!target.add) memset(target.data, 0, (size_t)tensor_size(call->in[1]) * sizeof(float));
    const int64_t blocks = (width + BLOCK_COLUMNS - 1) / BLOCK_COLUMNS;
    const int64_t parts = blocks < run->threads ? blocks : run->threads;
#pragma omp parallel for num_threads(run->threads) schedule(static)
    for (int64_t part = 0; part < parts; part++) {
        const int64_t from = part * blocks / parts * BLOCK_COLUMNS;
        const int64_t to = (part + 1) * blocks / parts * BLOCK_COLUMNS;
        const int64_t n = (to < width ? to : width) - from;
        for (int64_t r = 0; r < rows; r++)
            row_add_scaled(target.data + ids[r] * width + from, slope + r * width + from,
                           attributes->factor, n);
    }
}

const OpKernels ISA(embedding_cpu) = {forward, backward};
