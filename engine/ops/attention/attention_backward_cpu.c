/* Backward: weights are made again from the saved log-sum-exp. A block of keys meets all tiles of
 * queries that see it:
 *     dV_j += sum_i P_ij dO_i          dP_ij = dO_i . V_j          D_i = dO_i . O_i
 *     dS_ij = P_ij (dP_ij - D_i)       dQ_i += scale sum_j dS_ij K_j    dK_j += scale sum_i dS_ij
 * Q_i One thread owns dK and dV of a key head (or of one part of its queries), so nothing is
 * atomic. */
#include <math.h>
#include <omp.h>

#include "engine/ops/attention/attention_dropout.h"
#include "engine/ops/attention/attention_kernels.h"
#include "engine/vmath.h"

/* One key head of one sequence, or a part of its queries, and scratch. Tiles of queries lie in rows
 * of `padded` numbers, the width rounded up to whole vectors. */
typedef struct Backward {
    const OpCall *call;
    const AttentionView *view;
    const AttentionDropout *dropout;
    bool rounded; /* products=bf16 */
    int64_t b, head, part, parts;
    int64_t padded;
    float *delta;             /* scale D of every query, head by head of the group */
    float *start;             /* minus the log-sum-exp of a tile's queries */
    float *q, *g;             /* Q and dO */
    float *weights, *dscores; /* P and scale dS, QUERIES x KEYS */
    float *keys, *values;     /* K^T and V^T, in panels, scaled */
    float *key_rows;          /* K with channels in panels */
    float *dk, *dv;           /* sums of the block, KEYS x padded */
} Backward;

static int64_t query_at(const AttentionView *view, int64_t b, int64_t h, int64_t i) {
    return view->q_column + (b * view->queries + i) * view->q_row + h * view->width;
}

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
            if (tile->key + j == 0) prefetch_next_head(w->call, tile, i, true);
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

/* dQ = dS K for a strip and up to two vectors of channels, or that added to it. */
ALWAYS_INLINE void query_block(const int vectors, const Backward *w, const Tile *tile, int64_t i,
                               int64_t c, float *dq, bool add) {
    const int64_t row = w->view->q_row, left = w->view->width - c, last = vectors - 1;
    vfloat sum[ROWS][2];
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; r++) sum[r][0] = sum[r][1] = v_zero();
    multiply(vectors, strip_seen(tile, i), w->dscores + i * KEYS, KEYS, 1, w->key_rows + c * KEYS,
             PANEL, sum);
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

static __attribute__((noinline)) void query_strip(const Backward *w, const Tile *tile, int64_t i,
                                                  int64_t c, float *dq, bool add) {
    if (w->padded - c > LANES)
        query_block(2, w, tile, i, c, dq, add);
    else
        query_block(1, w, tile, i, c, dq, add);
}

/* The first block of keys writes dQ of all its queries, also of those that see none of it. */
static void query_sums(const Backward *w, const Tile *tile) {
    const Tensor *q = w->call->in[w->view->q_input];
    if (!q->gradient) return;
    float *dq = q->gradient + query_at(w->view, tile->b, tile->h, tile->first);
    const bool add = tile->key > 0 || w->call->accumulate[w->view->q_input];
    for (int64_t c = 0; c < w->padded; c += PANEL)
        for (int64_t i = 0; i < tile->count; i += ROWS)
            if (!add || strip_seen(tile, i) > 0) query_strip(w, tile, i, c, dq, add);
}

/* to[j][c] += sum_i a[i][j] b[i][c] for ROWS keys, up to two vectors of channels and the queries
 * from `from`. */
ALWAYS_INLINE void key_block(const int vectors, const Backward *w, const Tile *tile, int64_t from,
                             const float *a, const float *b, float *to) {
    vfloat sum[ROWS][2];
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; r++) {
        sum[r][0] = v_load(to + r * w->padded);
        if (vectors == 2) sum[r][1] = v_load(to + r * w->padded + LANES);
    }
    multiply(vectors, tile->count - from, a + from * KEYS, 1, KEYS, b + from * w->padded, w->padded,
             sum);
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; r++)
        for (int v = 0; v < vectors; v++) v_store(to + r * w->padded + v * LANES, sum[r][v]);
}

static __attribute__((noinline)) void key_strip(const Backward *w, const Tile *tile, int64_t from,
                                                int64_t c, const float *a, const float *b,
                                                float *to) {
    if (w->padded - c > LANES)
        key_block(2, w, tile, from, a, b, to);
    else
        key_block(1, w, tile, from, a, b, to);
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
            key_strip(w, tile, from, c, a + j, b + c, to + j * w->padded + c);
        }
}

static int64_t output_at(const AttentionView *view, int64_t b, int64_t h, int64_t i) {
    return ((b * view->queries + i) * view->heads + h) * view->width;
}

/* A block of keys and one tile of queries. */
static void tile_backward(const Backward *w, Tile *tile) {
    const AttentionView *view = w->view;
    const int64_t d = view->width, first = tile->first, count = tile->count;
    const Tensor *q = w->call->in[view->q_input];
    const int64_t at = query_at(view, tile->b, tile->h, first);
    const float *log_sum =
        w->call->saved[0]->data + (tile->b * view->heads + tile->h) * view->queries + first;
    const float *delta = w->delta + tile->h % view->group * view->queries + first;
    float deltas[QUERIES];
    /* Rows that only fill the last strip: no weight at all. */
    for (int64_t i = 0; i < QUERIES; i++) {
        w->start[i] = i < count ? -log_sum[i] : -INFINITY;
        deltas[i] = i < count ? delta[i] : 0.0f;
    }
    copy_rows(w->q, w->padded, q->data + at, view->q_row, count, d, w->rounded);
    copy_rows(w->g, w->padded, w->call->out[0]->gradient + output_at(view, tile->b, tile->h, first),
              view->heads * d, count, d, w->rounded);
    tile_scores(tile, w->q, w->padded, w->keys, w->start, w->weights);
    tile_dscores(w, tile, deltas);
    query_sums(w, tile);
    if (w->call->in[view->v_input]->gradient) key_sums(w, tile, w->weights, w->g, w->dv);
    if (w->call->in[view->k_input]->gradient) key_sums(w, tile, w->dscores, w->q, w->dk);
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

/* D of one head, for the part's tiles. */
static void prepare_head(const Backward *w, int64_t h) {
    const AttentionView *view = w->view;
    const int64_t d = view->width, row = view->heads * d, tiles = w->parts * QUERIES;
    const Tensor *out = w->call->out[0];
    float *delta = w->delta + h % view->group * view->queries;
    for (int64_t first = w->part * QUERIES; first < view->queries; first += tiles) {
        const int64_t left = view->queries - first, count = left < QUERIES ? left : QUERIES;
        for (int64_t i = 0; i < count; i += LANES) {
            const int64_t at = output_at(view, w->b, h, first + i);
            v_store_part(
                delta + first + i,
                row_products(out->gradient + at, out->data + at, row, count - i, d, view->scale),
                count - i);
        }
    }
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

/* Where the gradient of a key head begins: `sums` stands in for it when there are parts. */
static void finish_keys(const Backward *w, int input, int64_t column, int64_t row, int64_t key,
                        int64_t count, const float *from, float *sums) {
    const AttentionView *view = w->view;
    float *gradient = w->call->in[input]->gradient;
    if (!gradient) return;
    if (sums)
        write_keys(sums + key * view->width, view->width, from, w->padded, count, view->width,
                   false);
    else
        write_keys(gradient + column + (w->b * view->keys + key) * row + w->head * view->width, row,
                   from, w->padded, count, view->width, w->call->accumulate[input]);
}

static void key_head(const Backward *w, float *sums) {
    const AttentionView *view = w->view;
    const int64_t d = view->width, kv = w->head * d, end = attention_keys(view, w->b);
    const float *k =
        w->call->in[view->k_input]->data + view->k_column + w->b * view->keys * view->k_row + kv;
    const float *v =
        w->call->in[view->v_input]->data + view->v_column + w->b * view->keys * view->v_row + kv;
    for (int64_t h = w->head * view->group; h < (w->head + 1) * view->group; h++)
        prepare_head(w, h);
    for (int64_t j = 0; j < view->keys; j += KEYS) {
        Tile tile = {.view = view, .b = w->b, .end = end, .key = j};
        tile.keys = end - j < KEYS ? end - j : KEYS;
        if (tile.keys > 0) {
            pack_keys(w->keys, k + j * view->k_row, view->k_row, tile.keys, d, view->scale * LOG2_E,
                      w->rounded);
            pack_keys(w->values, v + j * view->v_row, view->v_row, tile.keys, d, view->scale,
                      w->rounded);
            pack_channels(w->key_rows, k + j * view->k_row, view->k_row, tile.keys, d, w->rounded);
        }
        const int64_t count = view->keys - j < KEYS ? view->keys - j : KEYS;
        const int64_t whole = (count + ROWS - 1) / ROWS * ROWS;
        memset(w->dk, 0, (size_t)(whole * w->padded) * sizeof(float));
        memset(w->dv, 0, (size_t)(whole * w->padded) * sizeof(float));
        for (tile.h = w->head * view->group; tile.h < (w->head + 1) * view->group; tile.h++)
            for (int64_t t = w->part; t * QUERIES < view->queries; t += w->parts) {
                tile.first = t * QUERIES;
                tile.count =
                    view->queries - tile.first < QUERIES ? view->queries - tile.first : QUERIES;
                if (tile_seen(&tile, tile.count - 1) > 0)
                    tile_backward(w, &tile);
                else if (j == 0)
                    query_sums(w, &tile);
            }
        finish_keys(w, view->k_input, view->k_column, view->k_row, j, count, w->dk, sums);
        finish_keys(w, view->v_input, view->v_column, view->v_row, j, count, w->dv,
                    sums ? sums + view->keys * d : NULL);
    }
}

/* Lays out a thread's scratch. */
static Backward backward_of(const OpCall *call, const AttentionView *view,
                            const AttentionDropout *dropout, float *scratch) {
    const int64_t padded = (view->width + LANES - 1) / LANES * LANES;
    Backward w = {.call = call, .view = view, .dropout = dropout, .padded = padded};
    w.q = scratch;
    w.g = w.q + QUERIES * padded;
    w.weights = w.g + QUERIES * padded;
    w.dscores = w.weights + QUERIES * KEYS;
    w.keys = w.dscores + QUERIES * KEYS;
    w.values = w.keys + KEYS * padded;
    w.dk = w.values + KEYS * padded;
    w.dv = w.dk + KEYS * padded;
    w.key_rows = w.dv + KEYS * padded;
    w.start = w.key_rows + KEYS * ((padded + PANEL - 1) / PANEL * PANEL);
    w.delta = w.start + QUERIES;
    return w;
}

/* dK (or dV) plus `count` parts of it, in order. */
static void add_parts(const OpCall *call, const AttentionView *view, int input, int64_t column,
                      int64_t row, const float *parts, int64_t count, bool add, int threads) {
    const int64_t d = view->width, keys = view->keys, stride = 2 * keys * d;
    float *gradient = call->in[input]->gradient;
    if (!gradient) return;
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (int64_t n = 0; n < view->batch * view->kv_heads * keys; n++) {
        const int64_t item = n / keys, j = n % keys, kv = item % view->kv_heads;
        float *to = gradient + column + (item / view->kv_heads * keys + j) * row + kv * d;
        for (int64_t c = 0; c < d; c += LANES) {
            vfloat sum = add ? v_load_part(to + c, d - c) : v_zero();
            for (int64_t p = 0; p < count; p++)
                sum += v_load_part(parts + (item * count + p) * stride + j * d + c, d - c);
            v_store_part(to + c, sum, d - c);
        }
    }
}

/* With several parts, as many of them at a time as there are threads; their sums are added in
 * order, so the number of threads changes no bit. */
void ISA(attention_backward)(const OpCall *call, const Run *run) {
    const AttentionView view = attention_view(call);
    const AttentionDropout dropout = attention_dropout(call, run);
    const int64_t parts = attention_parts(&view), items = view.batch * view.kv_heads;
    const int64_t floats = attention_scratch(&view, PHASE_BACKWARD);
    float *sums = (float *)call->scratch + run->threads * floats;
    for (int64_t first = 0; first < parts; first += run->threads) {
        const int64_t count = parts - first < run->threads ? parts - first : run->threads;
#pragma omp parallel for num_threads(run->threads) schedule(static) if (run->threads > 1)
        for (int64_t n = 0; n < items * count; n++) {
            Backward w = backward_of(call, &view, &dropout,
                                     (float *)call->scratch + omp_get_thread_num() * floats);
            w.rounded = run->products == PRODUCTS_BF16;
            w.b = n / count / view.kv_heads;
            w.head = n / count % view.kv_heads;
            w.part = first + n % count;
            w.parts = parts;
            key_head(&w, parts > 1 ? sums + n * 2 * view.keys * view.width : NULL);
        }
        if (parts == 1) continue;
        add_parts(call, &view, view.k_input, view.k_column, view.k_row, sums, count,
                  first || call->accumulate[view.k_input], run->threads);
        add_parts(call, &view, view.v_input, view.v_column, view.v_row,
                  sums + view.keys * view.width, count, first || call->accumulate[view.v_input],
                  run->threads);
    }
}
