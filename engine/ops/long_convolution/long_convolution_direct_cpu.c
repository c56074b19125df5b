/* One block of LANES channels at a time: the sequence is copied between zeros, then tiles of 8
 * outputs stay in registers while the taps go by. A tap costs one fused operation per output and
 * 9 loads to 8 of them: some 9/8 of the arithmetic floor. */
#include <omp.h>
#include <string.h>

#include "engine/ops/long_convolution/long_convolution_direct.h"
#include "engine/ops/long_convolution/long_convolution_plan.h"

/* Taps first .. last of one block; tap o takes x[t - o], so negative ones look ahead. */
typedef struct Taps {
    int64_t first, last;
    float *values; /* tap `first` first */
} Taps;

typedef struct Workspace {
    float *x, *g; /* between zeros: [-DIRECT_TILE, L + DIRECT_TILE) */
    Taps taps, gradient;
} Workspace;

static Workspace workspace_of(const Convolution *c, int thread) {
    const int64_t sequence = direct_sequence_vectors(c->L) * LANES;
    const int64_t taps = direct_filter_vectors(c->K) * LANES;
    float *memory = (float *)c->scratch + thread * direct_vectors(c->L, c->K) * LANES;
    const Taps range = {.first = c->reverse ? -c->K : 0, .last = c->K - 1};
    Workspace w = {.x = memory, .g = memory + sequence, .taps = range, .gradient = range};
    w.taps.values = memory + 2 * sequence;
    w.gradient.values = w.taps.values + taps;
    for (float *start = w.x; start <= w.g; start += sequence) {
        memset(start, 0, DIRECT_TILE * LANES * sizeof(float));
        memset(start + (c->L + DIRECT_TILE) * LANES, 0, DIRECT_TILE * LANES * sizeof(float));
    }
    w.x += DIRECT_TILE * LANES;
    w.g += DIRECT_TILE * LANES;
    return w;
}

static void read_taps(const Convolution *c, Lanes lanes, Taps taps) {
    for (int64_t o = taps.first; o <= taps.last; o++) {
        const float *from = o < 0 ? c->reverse + (-1 - o) * c->D : c->filter + o * c->D;
        v_store(taps.values + (o - taps.first) * LANES,
                v_load_part(from + lanes.channel, lanes.width));
    }
}

static int64_t larger(int64_t a, int64_t b) {
    return a > b ? a : b;
}
static int64_t smaller(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* sum[i] = sum_o tap[o] x[t + i - o] over the taps that meet the sequence anywhere in the tile. */
static inline void convolve_tile(const float *x, int64_t L, Taps taps, int64_t t,
                                 vfloat sum[DIRECT_TILE]) {
    for (int i = 0; i < DIRECT_TILE; i++) sum[i] = v_zero();
    const int64_t from = larger(taps.first, t - (L - 1));
    const int64_t to = smaller(taps.last, t + DIRECT_TILE - 1);
    for (int64_t o = from; o <= to; o++) {
        const vfloat tap = v_load(taps.values + (o - taps.first) * LANES);
        const float *at = x + (t - o) * LANES;
        for (int i = 0; i < DIRECT_TILE; i++) sum[i] += tap * v_load(at + i * LANES);
    }
}

/* sum[i] = sum_o tap[o] g[t + i + o] */
static inline void correlate_tile(const float *g, int64_t L, Taps taps, int64_t t,
                                  vfloat sum[DIRECT_TILE]) {
    for (int i = 0; i < DIRECT_TILE; i++) sum[i] = v_zero();
    const int64_t from = larger(taps.first, -(t + DIRECT_TILE - 1));
    const int64_t to = smaller(taps.last, L - 1 - t);
    for (int64_t o = from; o <= to; o++) {
        const vfloat tap = v_load(taps.values + (o - taps.first) * LANES);
        const float *at = g + (t + o) * LANES;
        for (int i = 0; i < DIRECT_TILE; i++) sum[i] += tap * v_load(at + i * LANES);
    }
}

/* Adds sum_t g[t] x[t - o] to the gradient of every tap o; sums of a piece of the sequence first,
 * so that none has more than PIECE terms in a row. */
static void tap_gradients(const float *x, const float *g, int64_t L, Taps gradient) {
    enum { PIECE = 512 };
    for (int64_t o = gradient.first; o <= gradient.last; o += DIRECT_TILE)
        for (int64_t start = 0; start < L; start += PIECE) {
            vfloat sum[DIRECT_TILE] = {0};
            const int64_t from = larger(start, o);
            const int64_t to = smaller(smaller(start + PIECE, L), L + o + DIRECT_TILE - 1);
            for (int64_t t = from; t < to; t++) {
                const vfloat value = v_load(g + t * LANES);
                const float *at = x + (t - o) * LANES;
                for (int i = 0; i < DIRECT_TILE; i++) sum[i] += value * v_load(at - i * LANES);
            }
            float *to_tap = gradient.values + (o - gradient.first) * LANES;
            for (int i = 0; i < DIRECT_TILE; i++)
                v_store(to_tap + i * LANES, v_load(to_tap + i * LANES) + sum[i]);
        }
}

static void forward_block(const Convolution *c, Lanes lanes, Workspace w) {
    read_taps(c, lanes, w.taps);
    for (int64_t b = 0; b < c->B; b++) {
        for (int64_t t = 0; t < c->L; t++)
            v_store(w.x + t * LANES, read_input(c, token_at(c, b, t, lanes), lanes));
        for (int64_t t = 0; t < c->L; t += DIRECT_TILE) {
            vfloat sum[DIRECT_TILE];
            convolve_tile(w.x, c->L, w.taps, t, sum);
            for (int i = 0; i < DIRECT_TILE && t + i < c->L; i++)
                write_output(c, token_at(c, b, t + i, lanes), sum[i], lanes);
        }
    }
}

static void backward_block(const Convolution *c, Lanes lanes, Workspace w) {
    read_taps(c, lanes, w.taps);
    memset(w.gradient.values, 0,
           (size_t)direct_filter_vectors(c->K) * LANES * sizeof *w.gradient.values);
    vfloat skip = v_zero();
    for (int64_t b = 0; b < c->B; b++) {
        for (int64_t t = 0; t < c->L; t++) {
            const int64_t at = token_at(c, b, t, lanes);
            v_store(w.x + t * LANES, read_input(c, at, lanes));
            v_store(w.g + t * LANES, read_cotangent(c, at, lanes));
        }
        vfloat row_skip = v_zero();
        for (int64_t t = 0; t < c->L; t += DIRECT_TILE) {
            vfloat sum[DIRECT_TILE];
            correlate_tile(w.g, c->L, w.taps, t, sum);
            for (int i = 0; i < DIRECT_TILE && t + i < c->L; i++)
                row_skip += write_gradient(c, token_at(c, b, t + i, lanes), sum[i], lanes);
        }
        skip += row_skip;
        tap_gradients(w.x, w.g, c->L, w.gradient);
    }
    sink(c->dskip, lanes.channel, skip, lanes);
    for (int64_t o = w.gradient.first; o <= w.gradient.last; o++) {
        const vfloat value = v_load(w.gradient.values + (o - w.gradient.first) * LANES);
        if (o < 0)
            sink(c->dreverse, (-1 - o) * c->D + lanes.channel, value, lanes);
        else
            sink(c->dfilter, o * c->D + lanes.channel, value, lanes);
    }
}

void ISA(long_convolution_direct)(const Convolution *c, const Run *run) {
#pragma omp parallel for num_threads(run->threads) schedule(static)
    for (int64_t block = 0; block < blocks_of(c); block++)
        forward_block(c, lanes_of(c, block), workspace_of(c, omp_get_thread_num()));
}

void ISA(long_convolution_direct_backward)(const Convolution *c, const Run *run) {
#pragma omp parallel for num_threads(run->threads) schedule(static)
    for (int64_t block = 0; block < blocks_of(c); block++)
        backward_block(c, lanes_of(c, block), workspace_of(c, omp_get_thread_num()));
}
