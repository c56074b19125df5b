/* Rows are taken in groups, so that the sums over lanes, the square roots and the divisions of a
 * group are vector instructions, and in fours inside a group, so that sums do not wait for each
 * other. A group stays in the first-level cache between its passes; the last one fetches the next
 * group, so that reading it overlaps with writing this one. */
#include "engine/ops/norm/norm.h"

#include "engine/gradient_simd.h"
#include "engine/reduce_simd.h"
#include "engine/vmath.h"

enum { FOUR = 4 };

typedef struct Rows {
    int64_t width;
    int64_t ahead; /* floats from a group to the next: fetched while this one is written */
    float epsilon;
    const float *x, *gamma, *beta;
    float *y, *inverse, *mean; /* 1 / deviation of each row; mean is NULL for RMS */
    const float *slope;        /* gradient of y */
    GradientTarget into_x;
} Rows;

/* Rows per group: 8 KiB of x, at most one per lane. */
static int64_t group_rows(int64_t width) {
    const int64_t rows = 2048 / width;
    return rows < 1 ? 1 : rows > LANES ? LANES : rows;
}

/* Columns d .. d + n - 1 of the sums below. */
ALWAYS_INLINE void sum_columns(const float *x, int64_t width, int64_t d, int64_t n, int count,
                               bool square, bool shifted, const vfloat *shift, vfloat *total) {
    for (int k = 0; k < count; k++) {
        vfloat u = v_load_part(x + k * width + d, n);
        if (shifted) u = n < LANES ? v_first(u - shift[k], n) : u - shift[k];
        total[k] += square ? u * u : u;
    }
}

/* sums[k] = lane-wise sum over row k of x, or of (x - shift[k])^2; shift NULL is zero. */
ALWAYS_INLINE void sum_rows(const float *x, int64_t width, int count, bool square,
                            const float *shift, vfloat *sums) {
    vfloat total[FOUR], away[FOUR];
    for (int k = 0; k < count; k++) {
        total[k] = v_zero();
        away[k] = v_set(shift ? shift[k] : 0.0f);
    }
    int64_t d = 0;
    for (; d + LANES <= width; d += LANES)
        sum_columns(x, width, d, LANES, count, square, shift, away, total);
    if (d < width) sum_columns(x, width, d, width - d, count, square, shift, away, total);
    for (int k = 0; k < count; k++) sums[k] = total[k];
}

/* The same for a group; lane r of the result belongs to row r. */
ALWAYS_INLINE vfloat sum_group(const float *x, int64_t width, int64_t rows, bool square,
                               const float *shift) {
    vfloat sums[LANES];
    int64_t r = 0;
    for (; r + FOUR <= rows; r += FOUR)
        sum_rows(x + r * width, width, FOUR, square, shift ? shift + r : NULL, sums + r);
    for (; r < rows; r++)
        sum_rows(x + r * width, width, 1, square, shift ? shift + r : NULL, sums + r);
    for (; r < LANES; r++) sums[r] = v_zero();
    return v_sum_rows(sums);
}

/* Calls of their own: inlined into one large function, the loops would spill their sums. */
static __attribute__((noinline)) vfloat group_sums(const float *x, int64_t width, int64_t rows) {
    return sum_group(x, width, rows, false, NULL);
}
static __attribute__((noinline)) vfloat group_squares(const float *x, int64_t width, int64_t rows) {
    return sum_group(x, width, rows, true, NULL);
}
static __attribute__((noinline)) vfloat group_variance(const float *x, int64_t width, int64_t rows,
                                                       const float *mean) {
    return sum_group(x, width, rows, true, mean);
}

/* Mean and 1 / deviation of up to four rows, in registers while their columns pass by. */
typedef struct Moments {
    vfloat mean[FOUR], inverse[FOUR];
} Moments;

ALWAYS_INLINE Moments moments_of(const Rows *rows, int64_t row, int count, bool layer) {
    Moments moments;
    for (int k = 0; k < count; k++) {
        moments.mean[k] = layer ? v_set(rows->mean[row + k]) : v_zero();
        moments.inverse[k] = v_set(rows->inverse[row + k]);
    }
    return moments;
}

ALWAYS_INLINE vfloat gamma_of(const Rows *rows, int64_t d, int64_t n) {
    return rows->gamma ? v_load_part(rows->gamma + d, n) : v_set(1.0f);
}

ALWAYS_INLINE void normalise_columns(const Rows *rows, const Moments *moments, int64_t row,
                                     int64_t d, int64_t n, int count, bool layer) {
    const vfloat gamma = gamma_of(rows, d, n);
    const vfloat beta = rows->beta ? v_load_part(rows->beta + d, n) : v_zero();
    for (int k = 0; k < count; k++) {
        const int64_t i = (row + k) * rows->width + d;
        vfloat u = v_load_part(rows->x + i, n);
        __builtin_prefetch(rows->x + i + rows->ahead);
        if (layer) u -= moments->mean[k];
        v_store_part(rows->y + i, u * moments->inverse[k] * gamma + beta, n);
    }
}

ALWAYS_INLINE void normalise(const Rows *rows, int64_t row, int count, bool layer) {
    const Moments moments = moments_of(rows, row, count, layer);
    int64_t d = 0;
    for (; d + LANES <= rows->width; d += LANES)
        normalise_columns(rows, &moments, row, d, LANES, count, layer);
    if (d < rows->width) normalise_columns(rows, &moments, row, d, rows->width - d, count, layer);
}

ALWAYS_INLINE void normalise_group(const Rows *shared, int64_t first, int64_t count, bool layer) {
    const Rows rows = *shared; /* a copy that no store can reach stays in registers */
    int64_t r = first;
    for (; r + FOUR <= first + count; r += FOUR) normalise(&rows, r, FOUR, layer);
    for (; r < first + count; r++) normalise(&rows, r, 1, layer);
}

static void forward_layer(const Rows *rows, int64_t first, int64_t count) {
    const float *x = rows->x + first * rows->width;
    const float divisor = 1.0f / (float)rows->width;
    float *mean = rows->mean + first;
    v_store_part(mean, group_sums(x, rows->width, count) * divisor, count);
    const vfloat variance = group_variance(x, rows->width, count, mean) * divisor;
    v_store_part(rows->inverse + first, 1.0f / v_sqrt(variance + rows->epsilon), count);
    normalise_group(rows, first, count, true);
}

static void forward_rms(const Rows *rows, int64_t first, int64_t count) {
    const float divisor = 1.0f / (float)rows->width;
    const vfloat square =
        group_squares(rows->x + first * rows->width, rows->width, count) * divisor;
    v_store_part(rows->inverse + first, 1.0f / v_sqrt(square + rows->epsilon), count);
    normalise_group(rows, first, count, false);
}

/* Lane-wise sums of g and g u for each row of a group, where g = gamma slope and u = x - mean. */
typedef struct SlopeSums {
    vfloat g[LANES], gu[LANES];
} SlopeSums;

ALWAYS_INLINE void sum_slope_columns(const Rows *rows, const Moments *moments, int64_t row,
                                     int64_t d, int64_t n, int count, bool layer, vfloat *total_g,
                                     vfloat *total_gu) {
    const vfloat gamma = gamma_of(rows, d, n);
    for (int k = 0; k < count; k++) {
        const int64_t i = (row + k) * rows->width + d;
        const vfloat g = gamma * v_load_part(rows->slope + i, n);
        vfloat u = v_load_part(rows->x + i, n);
        if (layer) u -= moments->mean[k];
        if (layer) total_g[k] += g;
        total_gu[k] += g * u;
    }
}

ALWAYS_INLINE void sum_slopes(const Rows *rows, int64_t row, int count, bool layer, vfloat *sum_g,
                              vfloat *sum_gu) {
    const Moments moments = moments_of(rows, row, count, layer);
    vfloat total_g[FOUR], total_gu[FOUR];
    for (int k = 0; k < count; k++) total_g[k] = total_gu[k] = v_zero();
    int64_t d = 0;
    for (; d + LANES <= rows->width; d += LANES)
        sum_slope_columns(rows, &moments, row, d, LANES, count, layer, total_g, total_gu);
    if (d < rows->width)
        sum_slope_columns(rows, &moments, row, d, rows->width - d, count, layer, total_g, total_gu);
    for (int k = 0; k < count; k++) {
        sum_g[k] = total_g[k];
        sum_gu[k] = total_gu[k];
    }
}

/* One chunk's sums of parameter gradients; NULL where nobody wants them. */
typedef struct ChunkSums {
    float *gamma, *beta;
} ChunkSums;

/* Each row's scalars in the gradient of x, inverse g + cubic u + constant. */
typedef struct Terms {
    float cubic[LANES], constant[LANES];
} Terms;

ALWAYS_INLINE void deliver_columns(const Rows *rows, const Moments *moments, int64_t row, int64_t d,
                                   int64_t n, int count, bool layer, const vfloat *cubic,
                                   const vfloat *constant, ChunkSums sums) {
    const vfloat gamma = gamma_of(rows, d, n);
    vfloat to_gamma = v_zero(), to_beta = v_zero();
    for (int k = 0; k < count; k++) {
        const int64_t i = (row + k) * rows->width + d;
        const vfloat slope = v_load_part(rows->slope + i, n);
        vfloat u = v_load_part(rows->x + i, n);
        if (layer) u -= moments->mean[k];
        const vfloat scaled = slope * moments->inverse[k];
        to_gamma += scaled * u;
        to_beta += slope;
        const vfloat rest = layer ? u * cubic[k] + constant[k] : u * cubic[k];
        if (rows->into_x.data) v_deliver(rows->into_x, i, gamma * scaled + rest, n);
    }
    if (sums.gamma) v_deliver((GradientTarget){sums.gamma, true}, d, to_gamma, n);
    if (sums.beta) v_deliver((GradientTarget){sums.beta, true}, d, to_beta, n);
}

ALWAYS_INLINE void deliver(const Rows *rows, int64_t row, int count, bool layer,
                           const float *cubics, const float *constants, ChunkSums sums) {
    const Moments moments = moments_of(rows, row, count, layer);
    vfloat cubic[FOUR], constant[FOUR];
    for (int k = 0; k < count; k++) {
        cubic[k] = v_set(cubics[k]);
        constant[k] = v_set(constants[k]);
    }
    int64_t d = 0;
    for (; d + LANES <= rows->width; d += LANES)
        deliver_columns(rows, &moments, row, d, LANES, count, layer, cubic, constant, sums);
    if (d < rows->width)
        deliver_columns(rows, &moments, row, d, rows->width - d, count, layer, cubic, constant,
                        sums);
}

ALWAYS_INLINE void group_slopes(const Rows *shared, int64_t first, int64_t count, bool layer,
                                SlopeSums *slopes) {
    const Rows rows = *shared;
    int64_t r = 0;
    for (; r + FOUR <= count; r += FOUR)
        sum_slopes(&rows, first + r, FOUR, layer, slopes->g + r, slopes->gu + r);
    for (; r < count; r++) sum_slopes(&rows, first + r, 1, layer, slopes->g + r, slopes->gu + r);
    for (; r < LANES; r++) slopes->g[r] = slopes->gu[r] = v_zero();
}

/* The gradient of x is g inverse - mean(g) inverse - u mean(g u) inverse^3. */
static __attribute__((noinline)) Terms layer_terms(const Rows *rows, int64_t first, int64_t count) {
    SlopeSums slopes;
    group_slopes(rows, first, count, true, &slopes);
    const vfloat inverse = v_load_part(rows->inverse + first, count);
    const float divisor = -1.0f / (float)rows->width;
    Terms terms;
    v_store(terms.constant, v_sum_rows(slopes.g) * inverse * divisor);
    v_store(terms.cubic, v_sum_rows(slopes.gu) * inverse * inverse * inverse * divisor);
    return terms;
}

static __attribute__((noinline)) Terms rms_terms(const Rows *rows, int64_t first, int64_t count) {
    SlopeSums slopes;
    group_slopes(rows, first, count, false, &slopes);
    const vfloat inverse = v_load_part(rows->inverse + first, count);
    const float divisor = -1.0f / (float)rows->width;
    Terms terms = {0};
    v_store(terms.cubic, v_sum_rows(slopes.gu) * inverse * inverse * inverse * divisor);
    return terms;
}

ALWAYS_INLINE void deliver_group(const Rows *shared, int64_t first, int64_t count, bool layer,
                                 const Terms *terms, ChunkSums sums) {
    const Rows rows = *shared;
    int64_t r = 0;
    for (; r + FOUR <= count; r += FOUR)
        deliver(&rows, first + r, FOUR, layer, terms->cubic + r, terms->constant + r, sums);
    for (; r < count; r++)
        deliver(&rows, first + r, 1, layer, terms->cubic + r, terms->constant + r, sums);
}

static void backward_layer(const Rows *rows, int64_t first, int64_t count, ChunkSums sums) {
    const Terms terms = layer_terms(rows, first, count);
    deliver_group(rows, first, count, true, &terms, sums);
}

static void backward_rms(const Rows *rows, int64_t first, int64_t count, ChunkSums sums) {
    const Terms terms = rms_terms(rows, first, count);
    deliver_group(rows, first, count, false, &terms, sums);
}

static Rows rows_from(const OpCall *call) {
    const Norm *attributes = call->attributes;
    return (Rows){.width = extent(call->in[0], -1),
                  .epsilon = attributes->epsilon,
                  .x = call->in[0]->data,
                  .gamma = data_of(call, 1),
                  .beta = data_of(call, 2),
                  .inverse = call->saved[0]->data,
                  .mean = call->saves > 1 ? call->saved[1]->data : NULL};
}

static void forward(const OpCall *call, const Run *run) {
    Rows rows = rows_from(call);
    rows.y = call->out[0]->data;
    const int64_t count = rows_of(call->in[0]), group = group_rows(rows.width);
    rows.ahead = group * rows.width;
#pragma omp parallel for num_threads(run->threads) schedule(static)
    for (int64_t row = 0; row < count; row += group) {
        const int64_t n = count - row < group ? count - row : group;
        if (rows.mean)
            forward_layer(&rows, row, n);
        else
            forward_rms(&rows, row, n);
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
                backward_layer(&rows, row, n, sums);
            else
                backward_rms(&rows, row, n, sums);
        }
    }
    if (into_gamma.data) deliver_sums(into_gamma, gamma_sums, chunks, width);
    if (into_beta.data) deliver_sums(into_beta, beta_sums, chunks, width);
}

const OpKernels ISA(norm_cpu) = {forward, backward};
