/* Backward through one tile: weights are made again from the saved log-sum-exp, then the products
 * that make the gradients. Shared by the operations that cut attention into tiles their own way. */
#ifndef LONGHAUL_OPS_ATTENTION_BACKWARD_TILE_H
#define LONGHAUL_OPS_ATTENTION_BACKWARD_TILE_H

#include <math.h>

#include "engine/ops/attention/attention_dropout.h"
#include "engine/vmath.h"

/* Where a tile's operands lie. Queries lie in rows of `padded` numbers, the width rounded up to
 * whole vectors. */
typedef struct Backward {
    const OpCall *call; /* whose next head is prefetched; NULL: none */
    const AttentionView *view;
    const AttentionDropout *dropout;
    bool rounded; /* products=bf16 */
    int64_t padded;
    float *start;             /* minus the log-sum-exp of a tile's queries */
    float *q, *g;             /* Q and dO */
    float *weights, *dscores; /* P and scale dS, QUERIES x KEYS */
    float *keys, *values;     /* K^T and V^T, in panels, scaled */
    float *key_rows;          /* K with channels in panels */
    float *dk, *dv;           /* sums of the block, KEYS x padded */
} Backward;

/* scale dS of a strip from dP; scores become weights, with dropout those that were used. */
ALWAYS_INLINE void dscore_block(const int vectors, const Backward *w, int64_t i, int64_t j,
                                const float *values, const float *delta) {
    vfloat s[ROWS][2];
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; r++) s[r][0] = s[r][1] = v_zero();
    multiply(vectors, w->padded, w->g + i * w->padded, w->padded, 1, values, PANEL, s);
    float *weights = w->weights + i * KEYS + j, *dscores = w->dscores + i * KEYS + j;
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; r++)
        for (int v = 0; v < vectors; v++) {
            const int64_t at = r * KEYS + v * LANES;
            vfloat p = v_exp2_weight(v_load(weights + at));
            const vfloat d = v_set(delta[i + r]);
            v_store(weights + at, p);
            v_store(dscores + at, p * (s[r][v] - d));
        }
}

static __attribute__((noinline)) void dscore_strip(const Backward *w, const Tile *tile, int64_t i,
                                                   int64_t j, const float *values,
                                                   const float *delta) {
    if (strip_seen(tile, i) - j > LANES)
        dscore_block(2, w, i, j, values, delta);
    else
        dscore_block(1, w, i, j, values, delta);
}

/* With dropout: dP counts where a weight was kept, and P is the weight that was used. */
static void drop_strip(const Backward *w, const Tile *tile, int64_t i, const float *delta) {
    const int64_t seen = strip_seen(tile, i);
    for (int64_t r = i; r < i + ROWS; r++) {
        float factor[DROPOUT_KEYS], *weights = w->weights + r * KEYS;
        float *dscores = w->dscores + r * KEYS;
        row_dropout(w->dropout, tile, r, seen, factor);
        for (int64_t j = 0; j < seen; j += LANES) {
            const vfloat p = v_load(weights + j), keep = v_load(factor + j);
            const vfloat d = p * v_set(delta[r]);
            v_store(dscores + j, (v_load(dscores + j) + d) * keep - d);
            v_store(weights + j, p * keep);
        }
    }
}

/* P and dS of the tile; zero beyond what a strip sees, as far as products over queries read. */
static void tile_dscores(const Backward *w, const Tile *tile, const float *delta) {
    const float *values = w->values;
    for (int64_t j = 0; j < tile->keys; j += PANEL, values += PANEL * w->padded)
        for (int64_t i = 0; i < tile->count; i += ROWS) {
            if (strip_seen(tile, i) > j) dscore_strip(w, tile, i, j, values, delta);
            if (w->call && tile->key + j == 0) prefetch_next_head(w->call, tile, i, true);
        }
    for (int64_t i = 0; i < tile->count; i += ROWS) {
        const int64_t seen = strip_seen(tile, i) > 0 ? strip_seen(tile, i) : 0;
        if (w->dropout->threshold && seen) drop_strip(w, tile, i, delta);
        if (w->rounded && seen) {
            round_rows(w->weights + i * KEYS, KEYS, ROWS, (seen + LANES - 1) / LANES);
            round_rows(w->dscores + i * KEYS, KEYS, ROWS, (seen + LANES - 1) / LANES);
        }
        for (int64_t j = (seen + LANES - 1) / LANES * LANES; j < seen + ROWS && j < KEYS;
             j += LANES)
            for (int64_t r = i; r < i + ROWS; r++) {
                v_store(w->weights + r * KEYS + j, v_zero());
                v_store(w->dscores + r * KEYS + j, v_zero());
            }
    }
}

/* dQ = A B for a strip and up to two vectors of channels, or that added to it; A: ROWS rows of n
 * numbers, a_row apart, B: n rows, b_step apart. */
ALWAYS_INLINE void query_block(const int vectors, const Backward *w, const Tile *tile, int64_t i,
                               int64_t c, int64_t n, const float *a, int64_t a_row, const float *b,
                               int64_t b_step, float *dq, bool add) {
    const int64_t row = w->view->q_row, left = w->view->width - c, last = vectors - 1;
    vfloat sum[ROWS][2];
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; r++) sum[r][0] = sum[r][1] = v_zero();
    multiply(vectors, n, a, a_row, 1, b, b_step, sum);
    dq += i * row + c;
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; r++)
        if (i + r < tile->count) {
            float *to = dq + r * row;
            if (vectors == 2) v_store(to, add ? v_load(to) + sum[r][0] : sum[r][0]);
            to += last * LANES;
            const int64_t part = left - last * LANES;
            v_store_part(to, add ? v_load_part(to, part) + sum[r][last] : sum[r][last], part);
        }
}

/* dQ = dS K. */
static __attribute__((noinline)) void query_strip(const Backward *w, const Tile *tile, int64_t i,
                                                  int64_t c, float *dq, bool add) {
    const float *a = w->dscores + i * KEYS, *b = w->key_rows + c * KEYS;
    if (w->padded - c > LANES)
        query_block(2, w, tile, i, c, strip_seen(tile, i), a, KEYS, b, PANEL, dq, add);
    else
        query_block(1, w, tile, i, c, strip_seen(tile, i), a, KEYS, b, PANEL, dq, add);
}

/* to[j][c] += sum_i a[i][j] b[i][c] for ROWS keys, up to two vectors of channels and n queries;
 * rows of a are a_step apart. */
ALWAYS_INLINE void key_block(const int vectors, const Backward *w, int64_t n, const float *a,
                             int64_t a_step, const float *b, float *to) {
    vfloat sum[ROWS][2];
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; r++) {
        sum[r][0] = v_load(to + r * w->padded);
        if (vectors == 2) sum[r][1] = v_load(to + r * w->padded + LANES);
    }
    multiply(vectors, n, a, 1, a_step, b, w->padded, sum);
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; r++)
        for (int v = 0; v < vectors; v++) v_store(to + r * w->padded + v * LANES, sum[r][v]);
}

static __attribute__((noinline)) void key_strip(const Backward *w, int64_t c, int64_t n,
                                                const float *a, const float *b, float *to) {
    if (w->padded - c > LANES)
        key_block(2, w, n, a, KEYS, b, to);
    else
        key_block(1, w, n, a, KEYS, b, to);
}

/* dV from P and dO, dK from dS and Q. */
static void key_sums(const Backward *w, const Tile *tile, const float *a, const float *b,
                     float *to) {
    for (int64_t c = 0; c < w->padded; c += PANEL)
        for (int64_t j = 0; j < tile->keys; j += ROWS) {
            /* Queries before the first that sees key j add nothing. */
            int64_t from = w->view->causal ? tile->key + j - w->view->offset - tile->first : 0;
            if (from < 0) from = 0;
            if (from >= tile->count) break;
            key_strip(w, c, tile->count - from, a + from * KEYS + j, b + from * w->padded + c,
                      to + j * w->padded + c);
        }
}

/* scale dO_i . O_i of LANES queries, one a lane. */
static vfloat row_products(const float *g, const float *o, int64_t row, int64_t count,
                           int64_t width, float scale) {
    vfloat sums[LANES];
    for (int64_t i = 0; i < LANES; i++) {
        sums[i] = v_zero();
        for (int64_t c = 0; c < width && i < count; c += LANES)
            sums[i] +=
                v_load_part(g + i * row + c, width - c) * v_load_part(o + i * row + c, width - c);
    }
    return sum_of_rows(sums) * scale;
}

/* to = from, or that added to it, for the keys of a block. */
static void write_keys(float *to, int64_t row, const float *from, int64_t padded, int64_t count,
                       int64_t width, bool add) {
    for (int64_t j = 0; j < count; j++)
        for (int64_t c = 0; c < width; c += LANES) {
            float *at = to + j * row + c;
            const vfloat before = add ? v_load_part(at, width - c) : v_zero();
            v_store_part(at, before + v_load(from + j * padded + c), width - c);
        }
}

#endif
