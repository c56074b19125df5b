/* Rows are taken in groups, so that the sums over lanes, the square roots and the divisions of a
 * group are vector instructions, and in fours inside a group, so that sums do not wait for each
 * other. A group stays in the first-level cache between its passes; from beyond it every element is
 * read once and written once. */
#include "engine/ops/norm/norm.h"

#include "engine/gradient_simd.h"
#include "engine/reduce_simd.h"
#include "engine/vmath.h"

enum { FOUR = 4 };

typedef struct Rows {
    int64_t width;
    float epsilon;
    const float *x, *gamma, *beta;
    float *y, *inverse, *mean; /* 1 / deviation of each row; mean is NULL for RMS */
    const float *slope;        /* gradient of y */
    GradientTarget into_x;
} Rows;

/* Rows per group: 16 KiB of x, at most one per lane. */
static int64_t group_rows(int64_t width) {
    const int64_t rows = 4096 / width;
    return rows < 1 ? 1 : rows > LANES ? LANES : rows;
}

/* Columns d .. d + n - 1 of the sums below. */
ALWAYS_INLINE void sum_columns(const float *x, int64_t width, int64_t d, int64_t n, int count,
                               bool square, const float *shift, vfloat *total) {
    for (int k = 0; k < count; k++) {
        vfloat u = v_load_part(x + k * width + d, n);
        if (square && shift) u = n < LANES ? v_first(u - shift[k], n) : u - shift[k];
        total[k] += square ? u * u : u;
    }
}

/* sums[k] = lane-wise sum over row k of x, or of (x - shift[k])^2. */
ALWAYS_INLINE void sum_rows(const float *x, int64_t width, int count, bool square,
                            const float *shift, vfloat *sums) {
    vfloat total[FOUR] = {0};
    int64_t d = 0;
    for (; d + LANES <= width; d += LANES)
        sum_columns(x, width, d, LANES, count, square, shift, total);
    if (d < width) sum_columns(x, width, d, width - d, count, square, shift, total);
    for (int k = 0; k < count; k++) sums[k] = total[k];
}

/* The same for a group; lane r of the result belongs to row r. */
ALWAYS_INLINE vfloat sum_group(const float *x, int64_t width, int64_t rows, bool square,
                               const float *shift) {
    vfloat sums[LANES] = {0};
    int64_t r = 0;
    for (; r + FOUR <= rows; r += FOUR)
        sum_rows(x + r * width, width, FOUR, square, shift ? shift + r : NULL, sums + r);
    for (; r < rows; r++)
        sum_rows(x + r * width, width, 1, square, shift ? shift + r : NULL, sums + r);
    return v_sum_rows(sums);
}

ALWAYS_INLINE void normalise_columns(const Rows *rows, int64_t row, int64_t d, int64_t n, int count,
                                     bool layer) {
    const vfloat gamma = rows->gamma ? v_load_part(rows->gamma + d, n) : v_set(1.0f);
    const vfloat beta = rows->beta ? v_load_part(rows->beta + d, n) : v_zero();
    for (int k = 0; k < count; k++) {
        const int64_t i = (row + k) * rows->width + d;
        vfloat u = v_load_part(rows->x + i, n);
        if (layer) u -= rows->mean[row + k];
        v_store_part(rows->y + i, u * rows->inverse[row + k] * gamma + beta, n);
    }
}

ALWAYS_INLINE void normalise(const Rows *rows, int64_t row, int count, bool layer) {
    int64_t d = 0;
    for (; d + LANES <= rows->width; d += LANES)
        normalise_columns(rows, row, d, LANES, count, layer);
    if (d < rows->width) normalise_columns(rows, row, d, rows->width - d, count, layer);
}

ALWAYS_INLINE void forward_group(const Rows *rows, int64_t row, int64_t count, bool layer) {
    const float *x = rows->x + row * rows->width;
    const float divisor = 1.0f / (float)rows->width;
    float *mean = layer ? rows->mean + row : NULL;
    if (layer) v_store_part(mean, sum_group(x, rows->width, count, false, NULL) * divisor, count);
    const vfloat variance = sum_group(x, rows->width, count, true, mean) * divisor;
    v_store_part(rows->inverse + row, 1.0f / v_sqrt(variance + rows->epsilon), count);
    int64_t r = row;
    for (; r + FOUR <= row + count; r += FOUR) normalise(rows, r, FOUR, layer);
    for (; r < row + count; r++) normalise(rows, r, 1, layer);
}

typedef struct SlopeSums {
    vfloat g[LANES], gu[LANES];
} SlopeSums;

/* With g = gamma slope and u = x - mean, the gradient of x is
 *     g inverse - mean(g) inverse - u mean(g u) inverse^3;
 * these are the lane-wise sums of g and g u. */
ALWAYS_INLINE void sum_slope_columns(const Rows *rows, int64_t row, int64_t d, int64_t n, int count,
                                     bool layer, vfloat *total_g, vfloat *total_gu) {
    const vfloat gamma = rows->gamma ? v_load_part(rows->gamma + d, n) : v_set(1.0f);
    for (int k = 0; k < count; k++) {
        const int64_t i = (row + k) * rows->width + d;
        const vfloat g = gamma * v_load_part(rows->slope + i, n);
        vfloat u = v_load_part(rows->x + i, n);
        if (layer) u -= rows->mean[row + k];
        if (layer) total_g[k] += g;
        total_gu[k] += g * u;
    }
}

ALWAYS_INLINE void sum_slopes(const Rows *rows, int64_t first, int64_t row, int count, bool layer,
                              SlopeSums *sums) {
    vfloat total_g[FOUR] = {0}, total_gu[FOUR] = {0};
    int64_t d = 0;
    for (; d + LANES <= rows->width; d += LANES)
        sum_slope_columns(rows, row, d, LANES, count, layer, total_g, total_gu);
    if (d < rows->width)
        sum_slope_columns(rows, row, d, rows->width - d, count, layer, total_g, total_gu);
    for (int k = 0; k < count; k++) {
        sums->g[row - first + k] = total_g[k];
        sums->gu[row - first + k] = total_gu[k];
    }
}

/* The row's scalars in the gradient of x: inverse g + cubic u + constant. */
typedef struct Terms {
    float cubic[LANES], constant[LANES];
} Terms;

/* One chunk's sums of parameter gradients; NULL where nobody wants them. */
typedef struct ChunkSums {
    float *gamma, *beta;
} ChunkSums;

ALWAYS_INLINE void deliver_columns(const Rows *rows, int64_t row, int64_t d, int64_t n, int count,
                                   bool layer, const float *cubic, const float *constant,
                                   ChunkSums sums) {
    const vfloat gamma = rows->gamma ? v_load_part(rows->gamma + d, n) : v_set(1.0f);
    vfloat to_gamma = v_zero(), to_beta = v_zero();
    for (int k = 0; k < count; k++) {
        const int64_t i = (row + k) * rows->width + d;
        const vfloat slope = v_load_part(rows->slope + i, n);
        vfloat u = v_load_part(rows->x + i, n);
        if (layer) u -= rows->mean[row + k];
        const vfloat scaled = slope * rows->inverse[row + k];
        to_gamma += scaled * u;
        to_beta += slope;
        vfloat v = gamma * scaled + u * cubic[k];
        if (layer) v += constant[k];
        if (rows->into_x.data) v_deliver(rows->into_x, i, v, n);
    }
    if (sums.gamma) v_deliver((GradientTarget){sums.gamma, true}, d, to_gamma, n);
    if (sums.beta) v_deliver((GradientTarget){sums.beta, true}, d, to_beta, n);
}

ALWAYS_INLINE void deliver(const Rows *rows, int64_t first, int64_t row, int count, bool layer,
                           const Terms *terms, ChunkSums sums) {
    const float *cubic = terms->cubic + (row - first), *constant = terms->constant + (row - first);
    int64_t d = 0;
    for (; d + LANES <= rows->width; d += LANES)
        deliver_columns(rows, row, d, LANES, count, layer, cubic, constant, sums);
    if (d < rows->width)
        deliver_columns(rows, row, d, rows->width - d, count, layer, cubic, constant, sums);
}

ALWAYS_INLINE void backward_group(const Rows *rows, int64_t first, int64_t count, bool layer,
                                  ChunkSums sums) {
    SlopeSums slopes = {0};
    const int64_t end = first + count;
    int64_t row = first;
    for (; row + FOUR <= end; row += FOUR) sum_slopes(rows, first, row, FOUR, layer, &slopes);
    for (; row < end; row++) sum_slopes(rows, first, row, 1, layer, &slopes);
    const vfloat inverse = v_load_part(rows->inverse + first, count);
    const float divisor = -1.0f / (float)rows->width;
    Terms terms;
    if (layer) v_store(terms.constant, v_sum_rows(slopes.g) * inverse * divisor);
    v_store(terms.cubic, v_sum_rows(slopes.gu) * inverse * inverse * inverse * divisor);
    for (row = first; row + FOUR <= end; row += FOUR)
        deliver(rows, first, row, FOUR, layer, &terms, sums);
    for (; row < end; row++) deliver(rows, first, row, 1, layer, &terms, sums);
}

static Rows rows_from(const OpCall *call) {
    const Norm *attributes = call->attributes;
    return (Rows){.width = extent(call->in[0], -1),
                  .epsilon = attributes->epsilon,
                  .x = call->in[0]->data,
                  .gamma = call->inputs > 1 && call->in[1] ? call->in[1]->data : NULL,
                  .beta = call->inputs > 2 && call->in[2] ? call->in[2]->data : NULL,
                  .inverse = call->saved[0]->data,
                  .mean = call->saves > 1 ? call->saved[1]->data : NULL};
}

static void forward(const OpCall *call, const Run *run) {
    Rows rows = rows_from(call);
    rows.y = call->out[0]->data;
    const int64_t count = rows_of(call->in[0]), group = group_rows(rows.width);
#pragma omp parallel for num_threads(run->threads) schedule(static)
    for (int64_t row = 0; row < count; row += group) {
        const int64_t n = count - row < group ? count - row : group;
        if (rows.mean)
            forward_group(&rows, row, n, true);
        else
            forward_group(&rows, row, n, false);
    }
}

/* target[d] = sum over the chunks, in their order. */
static void deliver_sums(GradientTarget target, const float *sums, int64_t chunks, int64_t width) {
    for (int64_t d = 0; d < width; d += LANES) {
        vfloat total = v_zero();
        for (int64_t c = 0; c < chunks; c++) total += v_load_part(sums + c * width + d, width - d);
        v_deliver(target, d, total, width - d);
    }
}

static void backward(const OpCall *call, const Run *run) {
    Rows rows = rows_from(call);
    rows.slope = call->out[0]->gradient;
    rows.into_x = gradient_target(call, 0);
    const GradientTarget into_gamma = gradient_target(call, 1);
    const GradientTarget into_beta = gradient_target(call, 2);
    const int64_t width = rows.width, count = rows_of(call->in[0]), group = group_rows(width);
    const int64_t chunk = norm_chunk_rows(count), chunks = norm_chunks(count);
    float *gamma_sums = call->scratch, *beta_sums = gamma_sums + chunks * width;
    if (into_gamma.data || into_beta.data)
        memset(gamma_sums, 0, (size_t)(2 * chunks * width) * sizeof *gamma_sums);
#pragma omp parallel for num_threads(run->threads) schedule(static)
    for (int64_t c = 0; c < chunks; c++) {
        const ChunkSums sums = {into_gamma.data ? gamma_sums + c * width : NULL,
                                into_beta.data ? beta_sums + c * width : NULL};
        const int64_t end = count < (c + 1) * chunk ? count : (c + 1) * chunk;
        for (int64_t row = c * chunk; row < end; row += group) {
            const int64_t n = end - row < group ? end - row : group;
            if (rows.mean)
                backward_group(&rows, row, n, true, sums);
            else
                backward_group(&rows, row, n, false, sums);
        }
    }
    if (into_gamma.data) deliver_sums(into_gamma, gamma_sums, chunks, width);
    if (into_beta.data) deliver_sums(into_beta, beta_sums, chunks, width);
}

const OpKernels ISA(norm_cpu) = {forward, backward};
