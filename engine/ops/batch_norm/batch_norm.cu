/* Bound by memory: x is read twice forward, x and the slopes twice backward, 12 and 20 bytes an
 * element. A block has 32 channels of a slice of rows, a warp to a row; slices' numbers are joined
 * in double, in their order. Variance: as on the CPU (batch_norm_cpu.c), with a base for each
 * slice.
 */
#include <cassert>

#include "engine/ops/batch_norm/batch_norm.h"

#include "engine/cuda/rounded.cuh"

enum { ACROSS = WARP, LINES = 8, THREADS = ACROSS * LINES };
/* Blocks for all multiprocessors from 128 channels on, and at least eight rows for each warp. */
enum { SLICE_ROWS = 64, MOST_SLICES = 264 };

static int64_t slices_of(int64_t rows) {
    const int64_t slices = (rows + SLICE_ROWS - 1) / SLICE_ROWS;
    return slices < MOST_SLICES ? slices : (int64_t)MOST_SLICES;
}

/* A matrix by slices. */
struct Slices {
    int64_t rows, D, count;
    __device__ int64_t from(int64_t slice) const {
        return slice * rows / count;
    }
};
static Slices slices_from(const OpCall *call) {
    const int64_t rows = rows_of(call->in[BATCH_X]);
    return {rows, extent(call->in[BATCH_X], -1), slices_of(rows)};
}

/* A thread's channel, and its line of the block. */
struct Lane {
    int64_t d;
    int own, line;
};
__device__ static inline Lane lane_of() {
    const int own = (int)threadIdx.x % ACROSS;
    return {(int64_t)blockIdx.x * ACROSS + own, own, (int)threadIdx.x / ACROSS};
}

/* Sum over the lines, in their order, in every thread of the channel. */
template <class T> __device__ static inline T sum_lines(const Lane &lane, T x, T space[][ACROSS]) {
    __syncthreads(); /* the space may still be read from the last time */
    space[lane.line][lane.own] = x;
    __syncthreads();
    T sum = 0;
    for (int i = 0; i < LINES; i++) sum += space[i][lane.own];
    return sum;
}

/* (slices, D): base, the mean of a slice's first rows, and sums of u = x - base and of u^2. */
struct Moments {
    float *base, *sum, *square;
};

KERNEL void __launch_bounds__(THREADS)
    slice_moments(const float *__restrict__ x, Slices slices, Moments to) {
    __shared__ float space[LINES][ACROSS];
    const Lane lane = lane_of();
    const int64_t slice = blockIdx.y, from = slices.from(slice);
    const int64_t end = slices.from(slice + 1);
    const int64_t first = end - from < LINES ? end - from : (int64_t)LINES;
    const int64_t stop = lane.d < slices.D ? end : from; /* none behind the last channel */
    float base = 0, sum = 0, square = 0;
    if (from + lane.line < stop) base = x[(from + lane.line) * slices.D + lane.d];
    base = sum_lines(lane, base, space) / (float)first;
#pragma unroll 8 /* loads in flight */
    for (int64_t row = from + lane.line; row < stop; row += LINES) {
        const float u = x[row * slices.D + lane.d] - base;
        sum += u;
        square += u * u;
    }
    sum = sum_lines(lane, sum, space);
    square = sum_lines(lane, square, space);
    if (lane.line != 0 || lane.d >= slices.D) return;
    const int64_t at = slice * slices.D + lane.d;
    to.base[at] = base;
    to.sum[at] = sum;
    to.square[at] = square;
}

KERNEL void __launch_bounds__(THREADS)
    join_moments(Moments moments, Slices slices, float *mean, float *variance) {
    __shared__ double space[LINES][ACROSS];
    const Lane lane = lane_of();
    const int64_t stop = lane.d < slices.D ? slices.count : 0;
    double sum = 0, squares = 0;
    for (int64_t s = lane.line; s < stop; s += LINES) {
        const int64_t at = s * slices.D + lane.d, rows = slices.from(s + 1) - slices.from(s);
        sum += (double)rows * (double)moments.base[at] + (double)moments.sum[at];
    }
    const double centre = sum_lines(lane, sum, space) / (double)slices.rows;
    for (int64_t s = lane.line; s < stop; s += LINES) {
        const int64_t at = s * slices.D + lane.d;
        const double rows = (double)(slices.from(s + 1) - slices.from(s));
        const double own = (double)moments.sum[at];
        const double away = (double)moments.base[at] + own / rows - centre;
        squares += (double)moments.square[at] - own * own / rows + rows * away * away;
    }
    squares = sum_lines(lane, squares, space);
    if (lane.line != 0 || lane.d >= slices.D) return;
    mean[lane.d] = (float)centre;
    variance[lane.d] = (float)(squares > 0 ? squares / (double)slices.rows : 0);
}

static Moments moments_in(const Slices &slices, Carver *carver) {
    const int64_t size = slices.count * slices.D;
    float *const base = carver->take<float>(size), *const sum = carver->take<float>(size);
    return {base, sum, carver->take<float>(size)};
}

static dim3 grid_of(const Slices &slices) {
    return dim3(blocks_for(slices.D, ACROSS), (unsigned)slices.count);
}

static void forward(const OpCall *call, const Run *run) {
    const BatchNorm *attributes = static_cast<const BatchNorm *>(call->attributes);
    const Slices slices = slices_from(call);
    const int64_t D = slices.D;
    Carver carver = {static_cast<unsigned char *>(call->scratch)};
    float *const scale = carver.take<float>(D);
    if (!attributes->running) {
        const Moments moments = moments_in(slices, &carver);
        LAUNCH(run, slice_moments, grid_of(slices), THREADS, 0, call->in[BATCH_X]->data, slices,
               moments);
        LAUNCH(run, join_moments, blocks_for(D, ACROSS), THREADS, 0, moments, slices,
               call->out[BATCH_ROW_MEAN]->data, call->out[BATCH_ROW_VARIANCE]->data);
    }
    const Tensor *mean = attributes->running ? call->in[BATCH_MEAN] : call->out[BATCH_ROW_MEAN];
    const Tensor *spread =
        attributes->running ? call->in[BATCH_VARIANCE] : call->out[BATCH_ROW_VARIANCE];
    const float *const gamma = call->in[BATCH_GAMMA]->data, *const variance = spread->data;
    const float epsilon = attributes->epsilon;
    for_each(run, D,
             [=] __device__(int64_t d) { scale[d] = gamma[d] / sqrtf(variance[d] + epsilon); });
    const Pieces x = pieces_of(call->in[BATCH_X]->data, D, D), means = pieces_of(mean->data, D, D);
    const Pieces scales = pieces_of(scale, D, D),
                 betas = pieces_of(data_of(call, BATCH_BETA), D, D);
    const Result result = result_of(call, BATCH_Y);
    const Pieces y = pieces_of(result.data, D, D);
    const Rounded rounded = {result.rounded, D};
    for_each_piece(run, slices.rows, D, [=] __device__(int64_t row, int64_t first) {
        Piece own = x.get(row, first);
        const Piece centre = means.get(0, first), gain = scales.get(0, first);
        const Piece offset = betas.get(0, first);
        for (int e = 0; e < PIECE; e++)
            own.of[e] = (own.of[e] - centre.of[e]) * gain.of[e] + offset.of[e];
        if (rounded.data)
            rounded.put(row, first, own);
        else
            y.put(row, first, own);
    });
}

/* (slices, D): sums of slopes g and of g (x - mean). */
struct Slopes {
    float *plain, *along;
};

KERNEL void __launch_bounds__(THREADS)
    slice_slopes(const float *__restrict__ x, const float *__restrict__ dy,
                 const float *__restrict__ mean, Slices slices, Slopes to) {
    __shared__ float space[LINES][ACROSS];
    const Lane lane = lane_of();
    const int64_t slice = blockIdx.y, from = slices.from(slice);
    const int64_t stop = lane.d < slices.D ? slices.from(slice + 1) : from;
    const float centre = lane.d < slices.D ? mean[lane.d] : 0.0f;
    float plain = 0, along = 0;
#pragma unroll 8 /* loads in flight */
    for (int64_t row = from + lane.line; row < stop; row += LINES) {
        const float g = dy[row * slices.D + lane.d];
        plain += g;
        along += g * (x[row * slices.D + lane.d] - centre);
    }
    plain = sum_lines(lane, plain, space);
    along = sum_lines(lane, along, space);
    if (lane.line != 0 || lane.d >= slices.D) return;
    to.plain[slice * slices.D + lane.d] = plain;
    to.along[slice * slices.D + lane.d] = along;
}

/* What has one number a channel. The gradient of x is g by_slope + (x - mean) by_deviation +
 * constant; the others, NULL where nobody wants them, come as in the header. */
struct Channels {
    const float *gamma, *mean, *variance;
    float epsilon;
    float *by_slope, *by_deviation, *constant;
    float *into[BATCH_INPUTS];
    bool accumulate[BATCH_INPUTS];

    __device__ void deliver(int input, int64_t d, double value) const {
        if (into[input]) put(into[input] + d, (float)value, accumulate[input]);
    }
};

/* With i = 1 / sqrt(variance + epsilon), G the sum of slopes and P of their products:
 * gamma i (g - G / R - (x - mean) i^2 P / R). */
KERNEL void __launch_bounds__(THREADS) join_slopes(Slopes slopes, Slices slices, Channels to) {
    __shared__ double space[LINES][ACROSS];
    const Lane lane = lane_of();
    const int64_t d = lane.d, stop = d < slices.D ? slices.count : 0;
    double plain = 0, along = 0;
    for (int64_t s = lane.line; s < stop; s += LINES) {
        plain += (double)slopes.plain[s * slices.D + d];
        along += (double)slopes.along[s * slices.D + d];
    }
    plain = sum_lines(lane, plain, space);
    along = sum_lines(lane, along, space);
    if (lane.line != 0 || d >= slices.D) return;
    const double R = (double)slices.rows, variance = (double)to.variance[d];
    const double inverse = 1 / sqrt(variance + (double)to.epsilon);
    const double gain = (double)to.gamma[d] * inverse;
    to.by_slope[d] = (float)gain;
    to.by_deviation[d] = (float)(-gain * inverse * inverse * along / R);
    to.constant[d] = (float)(-gain * plain / R);
    to.deliver(BATCH_GAMMA, d, along * inverse);
    to.deliver(BATCH_BETA, d, plain);
    to.deliver(BATCH_MEAN, d, (double)to.mean[d]);
    to.deliver(BATCH_VARIANCE, d, variance * R / (R - 1));
}

static void backward(const OpCall *call, const Run *run) {
    assert(!call->out[BATCH_ROW_MEAN]->gradient && !call->out[BATCH_ROW_VARIANCE]->gradient);
    const BatchNorm *attributes = static_cast<const BatchNorm *>(call->attributes);
    const Slices slices = slices_from(call);
    const int64_t D = slices.D, size = slices.count * D;
    const float *const x = call->in[BATCH_X]->data, *const dy = call->out[BATCH_Y]->gradient;
    Carver carver = {static_cast<unsigned char *>(call->scratch)};
    const Slopes slopes = {carver.take<float>(size), carver.take<float>(size)};
    Channels to = {};
    to.gamma = call->in[BATCH_GAMMA]->data;
    to.mean = call->out[BATCH_ROW_MEAN]->data;
    to.variance = call->out[BATCH_ROW_VARIANCE]->data;
    to.epsilon = attributes->epsilon;
    to.by_slope = carver.take<float>(D);
    to.by_deviation = carver.take<float>(D);
    to.constant = carver.take<float>(D);
    for (int i = BATCH_GAMMA; i < BATCH_INPUTS; i++) {
        to.into[i] = gradient_of(call, i);
        to.accumulate[i] = call->accumulate[i];
    }
    LAUNCH(run, slice_slopes, grid_of(slices), THREADS, 0, x, dy, to.mean, slices, slopes);
    LAUNCH(run, join_slopes, blocks_for(D, ACROSS), THREADS, 0, slopes, slices, to);
    float *const dx = gradient_of(call, BATCH_X);
    if (!dx) return;
    const bool add = call->accumulate[BATCH_X];
    const Pieces xs = pieces_of(x, D, D), gs = pieces_of(dy, D, D), into = pieces_of(dx, D, D);
    const Pieces means = pieces_of(to.mean, D, D), by_slope = pieces_of(to.by_slope, D, D);
    const Pieces by_deviation = pieces_of(to.by_deviation, D, D);
    const Pieces constants = pieces_of(to.constant, D, D);
    for_each_piece(run, slices.rows, D, [=] __device__(int64_t row, int64_t first) {
        const Piece u = xs.get(row, first), g = gs.get(row, first), mean = means.get(0, first);
        const Piece a = by_slope.get(0, first), b = by_deviation.get(0, first);
        Piece sum = constants.get(0, first), before = {};
        if (add) before = into.get(row, first);
        for (int e = 0; e < PIECE; e++) {
            sum.of[e] += g.of[e] * a.of[e] + (u.of[e] - mean.of[e]) * b.of[e];
            if (add) sum.of[e] += before.of[e];
        }
        into.put(row, first, sum);
    });
}

static size_t scratch(const OpCall *call, Phase phase) {
    const BatchNorm *attributes = static_cast<const BatchNorm *>(call->attributes);
    const Slices slices = slices_from(call);
    const size_t channels = carved(slices.D, sizeof(float));
    const size_t sums = carved(slices.count * slices.D, sizeof(float));
    if (phase == PHASE_BACKWARD) return 2 * sums + 3 * channels;
    return channels + (attributes->running ? 0 : 3 * sums);
}

static Roundable roundable(const OpCall *) {
    return {0, 0, 1u << BATCH_Y};
}

CUDA_OP(batch_norm, {forward, backward}, scratch, NULL, roundable);
