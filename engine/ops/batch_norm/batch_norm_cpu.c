/* Bound by memory: x is read twice forward, x and the slopes twice backward. Rows go by chunks of a
 * fixed size, and in a chunk by eights, so that a channel's sums are read and written once for
 * eight rows. Sums of a chunk are in float32, those over chunks in double.
 *
 * Variance: a chunk adds up u = x - base and u^2, where base is the mean of its own first rows. As
 * these rows are part of it, its variance is no smaller than their share of the squared distance
 * between base and mean, and the subtraction of the mean of u loses no more than a factor of
 * BATCH_CHUNK / BASE_ROWS of float32's precision, whatever the numbers are. */
#include <assert.h>
#include <math.h>

#include "engine/ops/batch_norm/batch_norm.h"

#include "engine/gradient_simd.h"
#include "engine/vmath.h"

enum { GROUP = 8, BASE_ROWS = 32, COLUMNS = 64 };

static inline int64_t smaller(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* A matrix whose rows are taken chunk by chunk. */
typedef struct Chunks {
    int64_t rows, D, count;
} Chunks;

static Chunks chunks_of(const OpCall *call) {
    const Tensor *x = call->in[BATCH_X];
    return (Chunks){rows_of(x), extent(x, -1), batch_chunks(rows_of(x))};
}

static inline int64_t rows_in(const Chunks *chunks, int64_t c) {
    return smaller(BATCH_CHUNK, chunks->rows - c * BATCH_CHUNK);
}

/* ---- statistics ---- */

/* (chunks, D): base, and sums of u = x - base and of u^2. */
typedef struct Moments {
    float *base, *sum, *square;
} Moments;

static void chunk_moments(const float *x, int64_t rows, int64_t D, Moments to) {
    const int64_t first = smaller(rows, BASE_ROWS);
    const float share = 1.0f / (float)first;
    for (int64_t d = 0; d < D; d += LANES) {
        vfloat sum = v_zero();
        for (int64_t r = 0; r < first; r++) sum += v_load_part(x + r * D + d, D - d);
        v_store_part(to.base + d, sum * share, D - d);
    }
    memset(to.sum, 0, (size_t)D * sizeof *to.sum);
    memset(to.square, 0, (size_t)D * sizeof *to.square);
    for (int64_t r = 0; r < rows; r += GROUP) {
        const int64_t end = smaller(rows, r + GROUP);
        for (int64_t d = 0; d < D; d += LANES) {
            const int64_t n = D - d;
            const vfloat base = v_load_part(to.base + d, n);
            vfloat sum = v_load_part(to.sum + d, n), square = v_load_part(to.square + d, n);
            for (int64_t i = r; i < end; i++) {
                const vfloat u = v_load_part(x + i * D + d, n) - base;
                sum += u;
                square += u * u;
            }
            v_store_part(to.sum + d, sum, n);
            v_store_part(to.square + d, square, n);
        }
    }
}

/* Channels first .. first + n - 1 of mean and variance. */
static void join_moments(const Chunks *chunks, Moments from, int64_t first, int64_t n, float *mean,
                         float *variance) {
    double centre[COLUMNS] = {0}, squares[COLUMNS] = {0};
    for (int64_t c = 0; c < chunks->count; c++) {
        const double rows = (double)rows_in(chunks, c);
        const int64_t at = c * chunks->D + first;
        for (int64_t d = 0; d < n; d++)
            centre[d] += rows * (double)from.base[at + d] + (double)from.sum[at + d];
    }
    for (int64_t d = 0; d < n; d++) centre[d] /= (double)chunks->rows;
    for (int64_t c = 0; c < chunks->count; c++) {
        const double rows = (double)rows_in(chunks, c);
        const int64_t at = c * chunks->D + first;
        for (int64_t d = 0; d < n; d++) {
            const double sum = (double)from.sum[at + d];
            const double away = (double)from.base[at + d] + sum / rows - centre[d];
            squares[d] += (double)from.square[at + d] - sum * sum / rows + rows * away * away;
        }
    }
    for (int64_t d = 0; d < n; d++) {
        mean[first + d] = (float)centre[d];
        variance[first + d] = (float)(fmax(squares[d], 0) / (double)chunks->rows);
    }
}

static void find_statistics(const OpCall *call, const Chunks *chunks, float *space, int threads) {
    const int64_t D = chunks->D, size = chunks->count * D;
    const Moments moments = {space, space + size, space + 2 * size};
    const float *x = call->in[BATCH_X]->data;
    float *mean = call->out[BATCH_ROW_MEAN]->data, *variance = call->out[BATCH_ROW_VARIANCE]->data;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t c = 0; c < chunks->count; c++) {
        const Moments own = {moments.base + c * D, moments.sum + c * D, moments.square + c * D};
        chunk_moments(x + c * BATCH_CHUNK * D, rows_in(chunks, c), D, own);
    }
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t d = 0; d < D; d += COLUMNS)
        join_moments(chunks, moments, d, smaller(COLUMNS, D - d), mean, variance);
}

/* ---- forward ---- */

/* y = (x - mean) scale + beta */
typedef struct Terms {
    const float *mean, *scale, *beta;
} Terms;

static void normalise(const float *x, float *y, int64_t rows, int64_t D, Terms terms) {
    for (int64_t r = 0; r < rows; r += GROUP) {
        const int64_t end = smaller(rows, r + GROUP);
        for (int64_t d = 0; d < D; d += LANES) {
            const int64_t n = D - d;
            const vfloat mean = v_load_part(terms.mean + d, n);
            const vfloat scale = v_load_part(terms.scale + d, n);
            const vfloat beta = v_load_part(terms.beta + d, n);
            for (int64_t i = r; i < end; i++)
                v_store_part(y + i * D + d, (v_load_part(x + i * D + d, n) - mean) * scale + beta,
                             n);
        }
    }
}

static void forward(const OpCall *call, const Run *run) {
    const BatchNorm *attributes = call->attributes;
    const Chunks chunks = chunks_of(call);
    const int64_t D = chunks.D;
    const float *x = call->in[BATCH_X]->data, *gamma = call->in[BATCH_GAMMA]->data;
    float *y = call->out[BATCH_Y]->data, *scale = call->scratch;
    if (!attributes->running) find_statistics(call, &chunks, scale + D, run->threads);
    const Tensor *mean = attributes->running ? call->in[BATCH_MEAN] : call->out[BATCH_ROW_MEAN];
    const Tensor *variance =
        attributes->running ? call->in[BATCH_VARIANCE] : call->out[BATCH_ROW_VARIANCE];
    for (int64_t d = 0; d < D; d += LANES)
        v_store_part(scale + d,
                     v_load_part(gamma + d, D - d) /
                         v_sqrt(v_load_part(variance->data + d, D - d) + attributes->epsilon),
                     D - d);
    const Terms terms = {mean->data, scale, call->in[BATCH_BETA]->data};
#pragma omp parallel for num_threads(run->threads) schedule(static)
    for (int64_t c = 0; c < chunks.count; c++)
        normalise(x + c * BATCH_CHUNK * D, y + c * BATCH_CHUNK * D, rows_in(&chunks, c), D, terms);
}

/* ---- backward ---- */

/* Sums (D) of a chunk's slopes g and of g (x - mean). */
static void chunk_slopes(const float *x, const float *slope, const float *mean, int64_t rows,
                         int64_t D, float *plain, float *along) {
    memset(plain, 0, (size_t)D * sizeof *plain);
    memset(along, 0, (size_t)D * sizeof *along);
    for (int64_t r = 0; r < rows; r += GROUP) {
        const int64_t end = smaller(rows, r + GROUP);
        for (int64_t d = 0; d < D; d += LANES) {
            const int64_t n = D - d;
            const vfloat centre = v_load_part(mean + d, n);
            vfloat sum = v_load_part(plain + d, n), product = v_load_part(along + d, n);
            for (int64_t i = r; i < end; i++) {
                const vfloat g = v_load_part(slope + i * D + d, n);
                sum += g;
                product += g * (v_load_part(x + i * D + d, n) - centre);
            }
            v_store_part(plain + d, sum, n);
            v_store_part(along + d, product, n);
        }
    }
}

/* The gradient of x is g by_slope + (x - mean) by_deviation + constant. */
typedef struct Adjoint {
    float *by_slope, *by_deviation, *constant;
} Adjoint;

static void put(GradientTarget target, int64_t i, double value) {
    if (target.data) target.data[i] = (target.add ? target.data[i] : 0.0f) + (float)value;
}

/* With i = 1 / sqrt(variance + epsilon), G the sum of slopes and P of their products:
 * gamma i (g - G / R - (x - mean) i^2 P / R). Also everything that has one number a channel. */
static void join_slopes(const OpCall *call, const Chunks *chunks, const float *plain,
                        const float *along, int64_t first, int64_t n, Adjoint to) {
    const BatchNorm *attributes = call->attributes;
    const double R = (double)chunks->rows;
    double sums[COLUMNS] = {0}, products[COLUMNS] = {0};
    for (int64_t c = 0; c < chunks->count; c++)
        for (int64_t d = 0; d < n; d++) {
            sums[d] += (double)plain[c * chunks->D + first + d];
            products[d] += (double)along[c * chunks->D + first + d];
        }
    for (int64_t k = 0; k < n; k++) {
        const int64_t d = first + k;
        const double mean = (double)call->out[BATCH_ROW_MEAN]->data[d];
        const double variance = (double)call->out[BATCH_ROW_VARIANCE]->data[d];
        const double inverse = 1 / sqrt(variance + (double)attributes->epsilon);
        const double gain = (double)call->in[BATCH_GAMMA]->data[d] * inverse;
        to.by_slope[d] = (float)gain;
        to.by_deviation[d] = (float)(-gain * inverse * inverse * products[k] / R);
        to.constant[d] = (float)(-gain * sums[k] / R);
        put(gradient_target(call, BATCH_GAMMA), d, products[k] * inverse);
        put(gradient_target(call, BATCH_BETA), d, sums[k]);
        put(gradient_target(call, BATCH_MEAN), d, mean);
        put(gradient_target(call, BATCH_VARIANCE), d, variance * R / (R - 1));
    }
}

static void deliver(const float *x, const float *slope, const float *mean, int64_t rows, int64_t D,
                    Adjoint adjoint, GradientTarget into) {
    for (int64_t r = 0; r < rows; r += GROUP) {
        const int64_t end = smaller(rows, r + GROUP);
        for (int64_t d = 0; d < D; d += LANES) {
            const int64_t n = D - d;
            const vfloat centre = v_load_part(mean + d, n);
            const vfloat by_slope = v_load_part(adjoint.by_slope + d, n);
            const vfloat by_deviation = v_load_part(adjoint.by_deviation + d, n);
            const vfloat constant = v_load_part(adjoint.constant + d, n);
            for (int64_t i = r; i < end; i++) {
                const vfloat u = v_load_part(x + i * D + d, n) - centre;
                const vfloat g = v_load_part(slope + i * D + d, n);
                v_deliver(into, i * D + d, g * by_slope + (u * by_deviation + constant), n);
            }
        }
    }
}

static void backward(const OpCall *call, const Run *run) {
    assert(!call->out[BATCH_ROW_MEAN]->gradient && !call->out[BATCH_ROW_VARIANCE]->gradient);
    const Chunks chunks = chunks_of(call);
    const int64_t D = chunks.D;
    const float *x = call->in[BATCH_X]->data, *slope = call->out[BATCH_Y]->gradient;
    const float *mean = call->out[BATCH_ROW_MEAN]->data;
    const GradientTarget into = gradient_target(call, BATCH_X);
    float *space = call->scratch, *plain = space + 3 * D, *along = plain + chunks.count * D;
    const Adjoint adjoint = {space, space + D, space + 2 * D};
#pragma omp parallel for num_threads(run->threads) schedule(static)
    for (int64_t c = 0; c < chunks.count; c++)
        chunk_slopes(x + c * BATCH_CHUNK * D, slope + c * BATCH_CHUNK * D, mean,
                     rows_in(&chunks, c), D, plain + c * D, along + c * D);
#pragma omp parallel for num_threads(run->threads) schedule(static)
    for (int64_t d = 0; d < D; d += COLUMNS)
        join_slopes(call, &chunks, plain, along, d, smaller(COLUMNS, D - d), adjoint);
    if (!into.data) return;
#pragma omp parallel for num_threads(run->threads) schedule(static)
    for (int64_t c = 0; c < chunks.count; c++) {
        const int64_t at = c * BATCH_CHUNK * D;
        deliver(x + at, slope + at, mean, rows_in(&chunks, c), D, adjoint,
                (GradientTarget){into.data + at, into.add});
    }
}

const OpKernels ISA(batch_norm_cpu) = {forward, backward};
