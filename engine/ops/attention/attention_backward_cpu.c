/* Backward: weights are made again from the saved log-sum-exp; for each tile of queries one pass
 * over its keys gives
 *     dV_j += sum_i P_ij dO_i          dP_ij = dO_i . V_j          D_i = dO_i . O_i
 *     dS_ij = P_ij (dP_ij - D_i)       dQ_i = scale sum_j dS_ij K_j    dK_j += scale sum_i dS_ij
 * Q_i One thread owns dK and dV of a key head (or of one part of its queries), so nothing is
 * atomic. */
#include <math.h>
#include <omp.h>

#include "engine/ops/attention/attention_dropout.h"
#include "engine/ops/attention/attention_kernels.h"
#include "engine/vmath.h"

typedef struct Backward {
    const AttentionView *view;
    const AttentionDropout *dropout;
    Tile tile;
    const float *k, *v; /* of this sequence and key head */
    float *dk, *dv;     /* sums for them, NULL where not wanted */
    int64_t dk_row, dv_row;
    int64_t padded;           /* d rounded up to whole vectors */
    float *qt, *gt, *dqt;     /* Q^T and dO^T, both times scale, and dQ^T: d x QUERIES */
    float *q, *g;             /* Q and dO, QUERIES x padded */
    float *weights, *dscores; /* P and scale dS, KEYS x QUERIES */
    float *factor;            /* dropout, KEYS x QUERIES */
    vfloat log_sum[VECTORS], delta[VECTORS]; /* of each query; delta = scale D */
} Backward;

/* P of `rows` keys from j. The sums start at minus the log-sum-exp. */
INLINE void weight_block(int rows, int vectors, const Backward *w, int vector, int64_t first,
                         int64_t j) {
    vfloat s[ROWS][2];
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < vectors; v++) s[r][v] = -w->log_sum[vector + v];
    multiply(rows, vectors, w->view->width, w->k + j * w->view->k_row, w->view->k_row, 1,
             w->qt + vector * LANES, QUERIES, s);
    for (int v = 0; v < vectors; v++) {
        const int64_t masked = w->tile.masked[vector + v];
        float *to = w->weights + (j - first) * QUERIES + (vector + v) * LANES;
        for (int r = 0; r < rows; r++) s[r][v] = v_exp(s[r][v]);
        if (j + rows > masked)
            for (int r = 0; r < rows; r++)
                s[r][v] = v_select(visible(j + r, masked), s[r][v], v_zero());
        for (int r = 0; r < rows; r++) v_store(to + r * QUERIES, s[r][v]);
    }
}

/* scale dS of `rows` keys from j; with dropout also P becomes the weight that was used. */
INLINE void dscore_block(int rows, int vectors, const Backward *w, int vector, int64_t first,
                         int64_t j) {
    vfloat s[ROWS][2] = {{{0}}};
    multiply(rows, vectors, w->view->width, w->v + j * w->view->v_row, w->view->v_row, 1,
             w->gt + vector * LANES, QUERIES, s);
    for (int v = 0; v < vectors; v++) {
        const int64_t at = (j - first) * QUERIES + (vector + v) * LANES;
        for (int r = 0; r < rows; r++) {
            const vfloat p = v_load(w->weights + at + r * QUERIES);
            if (w->factor) {
                const vfloat factor = v_load(w->factor + at + r * QUERIES);
                v_store(w->weights + at + r * QUERIES, p * factor);
                s[r][v] = s[r][v] * factor;
            }
            v_store(w->dscores + at + r * QUERIES, p * (s[r][v] - w->delta[vector + v]));
        }
    }
}

INLINE void dscore_span(int vectors, const Backward *w, const Span *span, int64_t first) {
    int64_t j = span->first;
    for (; j + ROWS <= span->last; j += ROWS) {
        prefetch_keys(w->k, w->view->k_row, j, ROWS, w->tile.end, w->view->width, false);
        prefetch_keys(w->v, w->view->v_row, j, ROWS, w->tile.end, w->view->width, false);
        if (w->dk) prefetch_keys(w->dk, w->dk_row, j, ROWS, w->tile.end, w->view->width, true);
        if (w->dv) prefetch_keys(w->dv, w->dv_row, j, ROWS, w->tile.end, w->view->width, true);
        weight_block(ROWS, vectors, w, span->vector, first, j);
        dscore_block(ROWS, vectors, w, span->vector, first, j);
    }
    for (; j < span->last; j++) {
        weight_block(1, vectors, w, span->vector, first, j);
        dscore_block(1, vectors, w, span->vector, first, j);
    }
}

/* dQ^T[c] += sum_j K[j][c] dS[j] for `rows` channels from c. */
INLINE void query_block(int rows, int vectors, const Backward *w, const Span *span, int64_t first,
                        int64_t c) {
    float *dqt = w->dqt + c * QUERIES + span->vector * LANES;
    vfloat sum[ROWS][2];
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < vectors; v++) sum[r][v] = v_load(dqt + r * QUERIES + v * LANES);
    multiply(rows, vectors, span->last - span->first, w->k + span->first * w->view->k_row + c, 1,
             w->view->k_row, w->dscores + (span->first - first) * QUERIES + span->vector * LANES,
             QUERIES, sum);
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < vectors; v++) v_store(dqt + r * QUERIES + v * LANES, sum[r][v]);
}

INLINE void query_span(int vectors, const Backward *w, const Span *span, int64_t first) {
    int64_t c = 0;
    for (; c + ROWS <= w->view->width; c += ROWS) query_block(ROWS, vectors, w, span, first, c);
    for (; c < w->view->width; c++) query_block(1, vectors, w, span, first, c);
}

/* to[j][c] += sum_i a[j][i] b[i][c] for `rows` keys, one or two vectors of channels and the
 * queries from `from`: dV from P and dO, dK from dS and Q. */
INLINE void key_block(int rows, int vectors, const Backward *w, int64_t from, const float *a,
                      const float *b, float *to, int64_t to_row, int64_t channels) {
    vfloat sum[ROWS][2];
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < vectors; v++)
            sum[r][v] = v_load_part(to + r * to_row + v * LANES, channels - v * LANES);
    multiply(rows, vectors, w->tile.count - from, a + from, QUERIES, 1, b + from * w->padded,
             w->padded, sum);
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < vectors; v++)
            v_store_part(to + r * to_row + v * LANES, sum[r][v], channels - v * LANES);
}

INLINE void key_rows(int rows, const Backward *w, int64_t first, int64_t j, const float *a,
                     const float *b, float *to, int64_t to_row) {
    const int64_t d = w->view->width;
    /* Queries before the first that sees key j add nothing. */
    int64_t from = w->view->causal ? j - w->view->offset - w->tile.first : 0;
    if (from < 0) from = 0;
    a += (j - first) * QUERIES;
    to += j * to_row;
    int64_t c = 0;
    for (; d - c > LANES; c += 2 * LANES)
        key_block(rows, 2, w, from, a, b + c, to + c, to_row, d - c);
    if (c < d) key_block(rows, 1, w, from, a, b + c, to + c, to_row, d - c);
}

static void key_sums(const Backward *w, int64_t first, int64_t last, const float *a, const float *b,
                     float *to, int64_t to_row) {
    int64_t j = first;
    for (; j + ROWS <= last; j += ROWS) key_rows(ROWS, w, first, j, a, b, to, to_row);
    for (; j < last; j++) key_rows(1, w, first, j, a, b, to, to_row);
}

static void key_tile(const Backward *w, int64_t first, int64_t last) {
    Span spans[VECTORS];
    const int count = tile_spans(&w->tile, first, last, spans);
    if (w->factor) tile_dropout(w->view, w->dropout, &w->tile, first, last, w->factor);
    for (int s = 0; s < count; s++) {
        if (spans[s].vectors == 2) {
            dscore_span(2, w, &spans[s], first);
            query_span(2, w, &spans[s], first);
        } else {
            dscore_span(1, w, &spans[s], first);
            query_span(1, w, &spans[s], first);
        }
    }
    if (w->dv) key_sums(w, first, last, w->weights, w->g, w->dv, w->dv_row);
    if (w->dk) key_sums(w, first, last, w->dscores, w->q, w->dk, w->dk_row);
}

/* Copies rows to whole vectors, so that products need no special last one. */
static void pad_rows(float *to, int64_t padded, const float *from, int64_t from_row, int64_t count,
                     int64_t width) {
    for (int64_t i = 0; i < count; i++)
        for (int64_t c = 0; c < width; c += LANES)
            v_store(to + i * padded + c, v_load_part(from + i * from_row + c, width - c));
}

/* scale dO_i . O_i, one query a lane. */
static vfloat row_products(const float *g, const float *o, int64_t row, int64_t count,
                           int64_t width, float scale) {
    vfloat block[LANES];
    for (int64_t i = 0; i < LANES; i++) {
        block[i] = v_zero();
        for (int64_t c = 0; c < width && i < count; c += LANES)
            block[i] +=
                v_load_part(g + i * row + c, width - c) * v_load_part(o + i * row + c, width - c);
    }
    v_transpose(block);
    for (int half = LANES / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++) block[i] += block[i + half];
    return block[0] * scale;
}

static void query_tile(const OpCall *call, Backward *w, int64_t b, int64_t h, int64_t first) {
    const AttentionView *view = w->view;
    const int64_t d = view->width, out_row = view->heads * d, row = b * view->queries + first;
    const int64_t q_at = view->q_column + row * view->q_row + h * d, out_at = row * out_row + h * d;
    const float *q = call->in[view->q_input]->data + q_at;
    const float *g = call->out[0]->gradient + out_at, *o = call->out[0]->data + out_at;
    const float *log_sum = call->saved[0]->data + (b * view->heads + h) * view->queries + first;
    w->tile = tile_of(view, b, h, first);
    const int64_t count = w->tile.count;
    for (int v = 0; v < w->tile.vectors; v++) {
        const int64_t at = v * LANES;
        float lanes[LANES]; /* unused ones: no weight at all */
        for (int64_t i = 0; i < LANES; i++) lanes[i] = at + i < count ? log_sum[at + i] : INFINITY;
        w->log_sum[v] = v_load(lanes);
        w->delta[v] =
            row_products(g + at * out_row, o + at * out_row, out_row, count - at, d, view->scale);
    }
    tile_transpose(w->qt, q, view->q_row, count, d, view->scale);
    tile_transpose(w->gt, g, out_row, count, d, view->scale);
    pad_rows(w->q, w->padded, q, view->q_row, count, d);
    pad_rows(w->g, w->padded, g, out_row, count, d);
    memset(w->dqt, 0, (size_t)(d * QUERIES) * sizeof(float));
    prefetch_next_head(call, view, &w->tile, true);
    for (int64_t j = 0; j < w->tile.end; j += KEYS)
        key_tile(w, j, j + KEYS < w->tile.end ? j + KEYS : w->tile.end);
    float *dq = call->in[view->q_input]->gradient;
    vfloat one[VECTORS];
    for (int v = 0; v < VECTORS; v++) one[v] = v_set(1.0f);
    if (dq)
        tile_transpose_back(dq + q_at, view->q_row, w->dqt, count, d, one,
                            call->accumulate[view->q_input]);
}

static void clear_rows(float *to, int64_t row, int64_t count, int64_t width) {
    for (int64_t i = 0; i < count; i++) memset(to + i * row, 0, (size_t)width * sizeof(float));
}

/* Where the sums for dK or dV go, cleared unless they accumulate: the gradient itself, or `part`.
 */
static float *sums_of(const OpCall *call, const AttentionView *view, int input, int64_t column,
                      int64_t *row, int64_t b, int64_t kv, float *part) {
    float *gradient = call->in[input]->gradient;
    if (!gradient) return NULL;
    float *to = gradient + column + b * view->keys * *row + kv * view->width;
    if (part) {
        to = part;
        *row = view->width;
    }
    if (part || !call->accumulate[input]) clear_rows(to, *row, view->keys, view->width);
    return to;
}

/* One key head of one sequence: its query heads, and of their tiles every parts-th one. */
static void key_head(const OpCall *call, const AttentionView *view, const AttentionDropout *dropout,
                     int64_t item, int64_t part, int64_t parts, float *sums, float *scratch) {
    const int64_t b = item / view->kv_heads, kv = item % view->kv_heads, d = view->width;
    const int64_t padded = (d + LANES - 1) / LANES * LANES;
    const int64_t tiles = (view->queries + QUERIES - 1) / QUERIES;
    Backward w = {.view = view, .dropout = dropout, .padded = padded};
    w.k = call->in[view->k_input]->data + view->k_column + b * view->keys * view->k_row + kv * d;
    w.v = call->in[view->v_input]->data + view->v_column + b * view->keys * view->v_row + kv * d;
    w.dk_row = view->k_row;
    w.dv_row = view->v_row;
    w.dk = sums_of(call, view, view->k_input, view->k_column, &w.dk_row, b, kv, sums);
    w.dv = sums_of(call, view, view->v_input, view->v_column, &w.dv_row, b, kv,
                   sums ? sums + view->keys * d : NULL);
    w.qt = scratch;
    w.gt = w.qt + d * QUERIES;
    w.dqt = w.gt + d * QUERIES;
    w.q = w.dqt + d * QUERIES;
    w.g = w.q + padded * QUERIES;
    w.weights = w.g + padded * QUERIES;
    w.dscores = w.weights + KEYS * QUERIES;
    w.factor = dropout->threshold ? w.dscores + KEYS * QUERIES : NULL;
    for (int64_t h = kv * view->group; h < (kv + 1) * view->group; h++)
        for (int64_t t = part; t < tiles; t += parts) query_tile(call, &w, b, h, t * QUERIES);
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
    const int64_t floats = attention_scratch(&view, call->attributes, PHASE_BACKWARD);
    float *sums = (float *)call->scratch + run->threads * floats;
    for (int64_t first = 0; first < parts; first += run->threads) {
        const int64_t count = parts - first < run->threads ? parts - first : run->threads;
#pragma omp parallel for num_threads(run->threads) schedule(static) if (run->threads > 1)
        for (int64_t n = 0; n < items * count; n++)
            key_head(call, &view, &dropout, n / count, first + n % count, parts,
                     parts > 1 ? sums + n * 2 * view.keys * view.width : NULL,
                     (float *)call->scratch + omp_get_thread_num() * floats);
        if (parts == 1) continue;
        add_parts(call, &view, view.k_input, view.k_column, view.k_row, sums, count,
                  first || call->accumulate[view.k_input], run->threads);
        add_parts(call, &view, view.v_input, view.v_column, view.v_row,
                  sums + view.keys * view.width, count, first || call->accumulate[view.v_input],
                  run->threads);
    }
}
