/* One block of LANES channels at a time: the sequence is copied between zeros, then tiles of 8
 * outputs by 8 taps are summed in registers: 64 fused operations to 23 loads. */
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
    float *x, *g; /* between zeros: [-DIRECT_PADDING, L + DIRECT_PADDING) */
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
        memset(start, 0, DIRECT_PADDING * LANES * sizeof(float));
        memset(start + (c->L + DIRECT_PADDING) * LANES, 0, DIRECT_PADDING * LANES * sizeof(float));
    }
    w.x += DIRECT_PADDING * LANES;
    w.g += DIRECT_PADDING * LANES;
    return w;
}

static void read_taps(const Convolution *c, Lanes lanes, Taps taps) {
    for (int64_t o = taps.first; o <= taps.last; o++)
        v_store(taps.values + (o - taps.first) * LANES, read_tap(c, o, lanes));
    memset(taps.values + (taps.last + 1 - taps.first) * LANES, 0,
           DIRECT_TILE * LANES * sizeof(float));
}

static int64_t larger(int64_t a, int64_t b) {
    return a > b ? a : b;
}
static int64_t smaller(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* sum[i] += sum_k a[k] b[side i + step k], k < DIRECT_TILE: a vector of b is loaded once for all of
 * its up to eight products. */
ALWAYS_INLINE void add_tile(const float *a, const float *b, int side, int step,
                            vfloat sum[DIRECT_TILE]) {
    enum { REACH = DIRECT_TILE - 1 };
    const int lowest = (side < 0 ? -REACH : 0) + (step < 0 ? -REACH : 0);
    vfloat window[2 * REACH + 1];
#pragma GCC unroll 16
    for (int n = 0; n <= 2 * REACH; n++) window[n] = v_load(b + (lowest + n) * LANES);
#pragma GCC unroll 8
    for (int k = 0; k < DIRECT_TILE; k++) {
        const vfloat factor = v_load(a + k * LANES);
#pragma GCC unroll 8
        for (int i = 0; i < DIRECT_TILE; i++)
            sum[i] += factor * window[side * i + step * k - lowest];
    }
}

/* sum[i] = sum_o tap[o] x[t + i - o] over the taps that meet the sequence anywhere in the tile. */
static void convolve_tile(const float *x, int64_t L, Taps taps, int64_t t,
                          vfloat sum[DIRECT_TILE]) {
    vfloat total[DIRECT_TILE] = {0};
    const int64_t from = larger(taps.first, t - (L - 1));
    const int64_t to = smaller(taps.last, t + DIRECT_TILE - 1);
    for (int64_t o = from; o <= to; o += DIRECT_TILE)
        add_tile(taps.values + (o - taps.first) * LANES, x + (t - o) * LANES, 1, -1, total);
    memcpy(sum, total, sizeof total);
}

/* sum[i] = sum_o tap[o] g[t + i + o] */
static void correlate_tile(const float *g, int64_t L, Taps taps, int64_t t,
                           vfloat sum[DIRECT_TILE]) {
    vfloat total[DIRECT_TILE] = {0};
    const int64_t from = larger(taps.first, -(t + DIRECT_TILE - 1));
    const int64_t to = smaller(taps.last, L - 1 - t);
    for (int64_t o = from; o <= to; o += DIRECT_TILE)
        add_tile(taps.values + (o - taps.first) * LANES, g + (t + o) * LANES, 1, 1, total);
    memcpy(sum, total, sizeof total);
}

/* Adds sum_t g[t] x[t - o] to the gradient of every tap o; sums of a piece of the sequence first,
 * so that none has more than PIECE terms in a row. */
static void tap_gradients(const float *x, const float *g, int64_t L, Taps gradient) {
    enum { PIECE = 512 };
    for (int64_t o = gradient.first; o <= gradient.last; o += DIRECT_TILE)
        for (int64_t start = 0; start < L; start += PIECE) {
            vfloat sum[DIRECT_TILE] = {0};
            const int64_t from = larger(start, o) / DIRECT_TILE * DIRECT_TILE;
            const int64_t to = smaller(smaller(start + PIECE, L), L + o + DIRECT_TILE - 1);
            for (int64_t t = from; t < to; t += DIRECT_TILE)
                add_tile(g + t * LANES, x + (t - o) * LANES, -1, 1, sum);
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
    for (int64_t b = 0; b < c->B; b++) {
        for (int64_t t = 0; t < c->L; t++) {
            const int64_t at = token_at(c, b, t, lanes);
            v_store(w.x + t * LANES, read_input(c, at, lanes));
            v_store(w.g + t * LANES, read_cotangent(c, at, lanes));
        }
        for (int64_t t = 0; t < c->L; t += DIRECT_TILE) {
            vfloat sum[DIRECT_TILE];
            correlate_tile(w.g, c->L, w.taps, t, sum);
            for (int i = 0; i < DIRECT_TILE && t + i < c->L; i++)
                write_gradient(c, token_at(c, b, t + i, lanes), sum[i], lanes);
        }
        tap_gradients(w.x, w.g, c->L, w.gradient);
    }
    for (int64_t o = w.gradient.first; o <= w.gradient.last; o++)
        write_tap_gradient(c, o, v_load(w.gradient.values + (o - w.gradient.first) * LANES), lanes);
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
