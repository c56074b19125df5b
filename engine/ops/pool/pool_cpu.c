/* One pass over x: bound by memory. Sequences and blocks of columns are independent; the sum over
 * time is taken in stretches, so that its rounding grows with the stretch and not with L. */
#include "engine/ops/pool/pool.h"

#include <assert.h>

#include "engine/rows_simd.h"

enum { VECTORS = 4, BLOCK_COLUMNS = VECTORS * LANES, STRETCH = 256 };

/* Columns 0 .. n - 1 of the sum of `rows` rows at x; total[v] holds those from v LANES on. */
ALWAYS_INLINE void add_rows(const float *x, int64_t rows, int64_t width, int64_t n, vfloat *total) {
    vfloat sum[VECTORS] = {0};
    for (int64_t t = 0; t < rows; t++)
        for (int v = 0; v < VECTORS; v++)
            if (v * LANES < n) sum[v] += v_load_part(x + t * width + v * LANES, n - v * LANES);
    for (int v = 0; v < VECTORS; v++) total[v] += sum[v];
}

static void mean_block(const float *x, float *y, int64_t length, int64_t width, int64_t n) {
    vfloat total[VECTORS] = {0};
    for (int64_t t = 0; t < length; t += STRETCH) {
        const int64_t rows = length - t < STRETCH ? length - t : STRETCH;
        if (n == BLOCK_COLUMNS)
            add_rows(x + t * width, rows, width, BLOCK_COLUMNS, total);
        else
            add_rows(x + t * width, rows, width, n, total);
    }
    for (int v = 0; v < VECTORS && v * LANES < n; v++)
        v_store_part(y + v * LANES, total[v] / (float)length, n - v * LANES);
}

static int64_t length_of(const OpCall *call, int64_t b) {
    const int64_t longest = extent(call->in[0], 1);
    const int64_t length = call->in[1] ? call->in[1]->integers[b] : longest;
    assert(length >= 1 && length <= longest && "length outside the sequence");
    return length;
}

/* Positions from .. to - 1 of a sequence, of which y is the mean. */
typedef struct Range {
    int64_t from, to;
} Range;

static Range range_of(Pooling pooling, int64_t length) {
    return (Range){pooling == POOL_LAST ? length - 1 : 0, pooling == POOL_FIRST ? 1 : length};
}

static void forward(const OpCall *call, const Run *run) {
    const Pool *attributes = call->attributes;
    const float *x = call->in[0]->data;
    float *y = call->out[0]->data;
    const int64_t batch = extent(call->in[0], 0), longest = extent(call->in[0], 1);
    const int64_t width = extent(call->in[0], 2);
    const int64_t blocks = (width + BLOCK_COLUMNS - 1) / BLOCK_COLUMNS;
#pragma omp parallel for num_threads(run->threads) schedule(static)
    for (int64_t task = 0; task < batch * blocks; task++) {
        const int64_t b = task / blocks, from = task % blocks * BLOCK_COLUMNS;
        const int64_t n = width - from < BLOCK_COLUMNS ? width - from : BLOCK_COLUMNS;
        const int64_t length = length_of(call, b);
        const float *source = x + b * longest * width + from;
        float *result = y + b * width + from;
        if (attributes->pooling == POOL_MEAN)
            mean_block(source, result, length, width, n);
        else
            row_scale(result, source + range_of(attributes->pooling, length).from * width, 1.0f, n);
    }
}

static void backward(const OpCall *call, const Run *run) {
    const Pool *attributes = call->attributes;
    const float *slope = call->out[0]->gradient;
    const GradientTarget target = gradient_target(call, 0);
    const int64_t longest = extent(call->in[0], 1), width = extent(call->in[0], 2);
    const int64_t batch = extent(call->in[0], 0), blocks = (longest + STRETCH - 1) / STRETCH;
    if (!target.data) return;
#pragma omp parallel for num_threads(run->threads) schedule(static)
    for (int64_t task = 0; task < batch * blocks; task++) {
        const int64_t b = task / blocks, from = task % blocks * STRETCH;
        const int64_t to = longest - from < STRETCH ? longest : from + STRETCH;
        const Range range = range_of(attributes->pooling, length_of(call, b));
        const float share = 1.0f / (float)(range.to - range.from);
        for (int64_t t = from; t < to; t++) {
            float *row = target.data + (b * longest + t) * width;
            if (t < range.from || t >= range.to) {
                if (!target.add) memset(row, 0, (size_t)width * sizeof *row);
            } else if (target.add) {
                row_add_scaled(row, slope + b * width, share, width);
            } else {
                row_scale(row, slope + b * width, share, width);
            }
        }
    }
}

const OpKernels ISA(pool_cpu) = {forward, backward};
