/* What the forward and the backward kernel of Taylor attention share: a head on a thread, products
 * of pairs of tokens, and features. Those lie with the tokens of a chunk side by side, (F, CHUNK),
 * so that they are made, and turned back into gradients, by whole vectors of tokens. */
#ifndef LONGHAUL_OPS_TAYLOR_SIMD_H
#define LONGHAUL_OPS_TAYLOR_SIMD_H

#include "engine/gradient_simd.h"
#include "engine/ops/taylor_attention/taylor_plan.h"
#include "engine/reduce_simd.h"
#include "engine/transpose_simd.h"
#include "engine/triangle_simd.h"

_Static_assert((int)TAYLOR_TILE == (int)CHUNK, "the rows of a triangle are those of a tile");

typedef struct Head {
    const OpCall *call;
    TaylorPlan plan;
    Multiplier with;
    int64_t b, h;
    float *triangle; /* (CHUNK, CHUNK): weights of a tile's own tokens, */
    float *earlier;  /* (CHUNK, tokens before it); with `pairs` only */
    float *x;        /* (d, CHUNK): queries / sqrt(d), or keys */
    float *features; /* (F, CHUNK) */
    float *state;
    /* Backward: */
    float *dtriangle, *dearlier; /* of the weights, then of the products q . k */
    float *dx, *dfeatures;
    float *dstate; /* behind the chunk, then before it */
} Head;

/* Some rows of one head. before: tokens of its chunk that come before them. */
typedef struct Tile {
    int64_t token, rows, before;
    const float *q, *k, *v; /* of its first token */
    bool reads, adds;       /* the state before the chunk is not zero; the one behind is of use */
} Tile;

static inline int64_t smaller(int64_t a, int64_t b) {
    return a < b ? a : b;
}

static inline float *take(float **next, int64_t floats) {
    float *part = *next;
    *next += (floats + 15) / 16 * 16;
    return part;
}

static inline Head head_of(const OpCall *call, const Run *run, int thread, size_t bytes,
                           Phase phase) {
    Head w = {.call = call, .plan = taylor_plan(call), .with = {.products = run->products}};
    const TaylorPlan *p = &w.plan;
    const int64_t earlier = p->pairs ? CHUNK * CHUNK * (p->tiles - 1) : 0;
    float *next = (float *)((char *)call->scratch + (size_t)thread * bytes);
    w.triangle = take(&next, CHUNK * CHUNK);
    w.earlier = take(&next, earlier);
    if (!p->pairs) {
        w.x = take(&next, p->d * CHUNK);
        w.features = take(&next, p->F * CHUNK);
        w.state = take(&next, p->state);
    }
    if (phase == PHASE_BACKWARD) {
        w.dtriangle = take(&next, CHUNK * CHUNK);
        w.dearlier = take(&next, earlier);
        if (!p->pairs) {
            w.dx = take(&next, p->d * CHUNK);
            w.dfeatures = take(&next, p->F * CHUNK);
            w.dstate = take(&next, p->state);
        }
    }
    w.with.workspace = next;
    return w;
}

static inline Tile tile_of(const Head *w, int64_t number) {
    const TaylorPlan *p = &w->plan;
    const float *qkv = w->call->in[TAYLOR_QKV]->data;
    Tile tile = {.token = number * CHUNK};
    tile.rows = smaller(CHUNK, p->L - tile.token);
    tile.before = p->pairs ? tile.token : 0;
    tile.q = qkv + taylor_q(p, w->b, tile.token, w->h);
    tile.k = qkv + taylor_k(p, w->b, tile.token, w->h);
    tile.v = qkv + taylor_v(p, w->b, tile.token, w->h);
    tile.reads = !p->pairs && (p->starts || number > 0);
    tile.adds = !p->pairs && (p->starts || number + 1 < p->tiles);
    return tile;
}

/* Columns of `earlier`, and the first of the tokens before a tile. */
static inline int64_t earlier_row(const Head *w) {
    return CHUNK * (w->plan.tiles - 1);
}
static inline const float *chunk_start(const Head *w, const Tile *tile, const float *at) {
    return at - tile->before * w->plan.row;
}

/* Products a b^T of a tile's rows with its own tokens up to them, and with earlier ones: q k^T, and
 * dO V^T. */
static inline void pair_products(const Head *w, const Tile *tile, int64_t width, const float *a,
                                 int64_t a_row, const float *b, float *own, float *earlier) {
    const int64_t row = w->plan.row;
    triangle(&w->with, tile->rows, width, a, a_row, b, row, own);
    if (tile->before)
        multiply(&w->with, GEMM_NT, tile->rows, tile->before, width, a, a_row,
                 chunk_start(w, tile, b), row, earlier, earlier_row(w), false);
}
/* c (rows, width) = or += P b, for weights of a tile's own and earlier tokens. */
static inline void pair_sums(const Head *w, const Tile *tile, int64_t width, const float *own,
                             const float *earlier, const float *b, float *c, int64_t c_row,
                             bool add) {
    triangle_sums(&w->with, tile->rows, width, own, b, w->plan.row, c, c_row, add);
    if (tile->before)
        multiply(&w->with, GEMM_NN, tile->rows, width, tile->before, earlier, earlier_row(w),
                 chunk_start(w, tile, b), w->plan.row, c, c_row, true);
}

/* to (columns, CHUNK) = factor from^T, zero behind the last row. */
static inline void turn(float *to, const float *from, int64_t row, int64_t rows, int64_t columns,
                        float factor) {
    for (int64_t t = 0; t < CHUNK; t += LANES)
        for (int64_t c = 0; c < columns; c += LANES) {
            vfloat square[LANES];
            for (int64_t r = 0; r < LANES; r++)
                square[r] = t + r < rows
                                ? v_load_part(from + (t + r) * row + c, columns - c) * factor
                                : v_zero();
            v_transpose(square);
            for (int64_t r = 0; r < LANES && c + r < columns; r++)
                v_store(to + (c + r) * CHUNK + t, square[r]);
        }
}

/* A row (CHUNK) in registers. */
enum { VECTORS = CHUNK / LANES };
typedef struct Row {
    vfloat of[VECTORS];
} Row;
static inline Row load_row(const float *from) {
    Row row;
    for (int n = 0; n < VECTORS; n++) row.of[n] = v_load(from + n * LANES);
    return row;
}
static inline void store_row(float *to, const Row *row) {
    for (int n = 0; n < VECTORS; n++) v_store(to + n * LANES, row->of[n]);
}
static inline Row row_product(const Row *a, const Row *b, float factor) {
    Row row;
    for (int n = 0; n < VECTORS; n++) row.of[n] = a->of[n] * b->of[n] * factor;
    return row;
}

/* features (F, CHUNK) of x, times factors[t]; square: weight of the squares of one channel. */
static inline void form_features(const Head *w, float square, const float *factors) {
    const int64_t d = w->plan.d;
    const Row factor = load_row(factors);
    float *linear = w->features + CHUNK, *to = linear + d * CHUNK;
    store_row(w->features, &factor);
    for (int64_t a = 0; a < d; a++) {
        const Row x = load_row(w->x + a * CHUNK), own = row_product(&x, &factor, 1);
        store_row(linear + a * CHUNK, &own);
        for (int64_t b = a; b < d; b++, to += CHUNK) {
            const Row other = load_row(w->x + b * CHUNK);
            const Row both = row_product(&own, &other, b == a ? square : 1);
            store_row(to, &both);
        }
    }
}

/* One for every token of a tile, and zero behind them. */
static inline void token_ones(float *factors, int64_t rows) {
    for (int64_t t = 0; t < CHUNK; t++) factors[t] = t < rows ? 1 : 0;
}
static inline void query_features(const Head *w, const Tile *tile, const float *factors) {
    turn(w->x, tile->q, w->plan.row, tile->rows, w->plan.d, w->plan.scale);
    form_features(w, 0.5f, factors);
}
static inline void key_features(const Head *w, const Tile *tile) {
    float ones[CHUNK];
    token_ones(ones, tile->rows);
    turn(w->x, tile->k, w->plan.row, tile->rows, w->plan.d, 1);
    form_features(w, 1, ones);
}

/* S += features^T V, and z (F) behind it += features weights[t]. */
static inline void add_features(const Head *w, const Tile *tile, const float *v, int64_t v_row,
                                const float *weights, float *state) {
    const int64_t F = w->plan.F, m = w->plan.m;
    float *z = state + F * m;
    multiply(&w->with, GEMM_NN, F, m, tile->rows, w->features, CHUNK, v, v_row, state, m, true);
    for (int64_t f = 0; f < F; f += LANES) {
        const int64_t rows = smaller(LANES, F - f);
        vfloat sums[LANES];
        for (int64_t r = 0; r < LANES; r++) {
            sums[r] = v_zero();
            for (int64_t t = 0; r < rows && t < CHUNK; t += LANES)
                sums[r] += v_load(w->features + (f + r) * CHUNK + t) * v_load(weights + t);
        }
        v_store_part(z + f, v_load_part(z + f, rows) + v_sum_rows(sums), rows);
    }
}

#endif
