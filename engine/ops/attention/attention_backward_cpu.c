/* Backward: weights are made again from the saved log-sum-exp. A block of keys meets all tiles of
 * queries that see it:
 *     dV_j += sum_i P_ij dO_i          dP_ij = dO_i . V_j          D_i = dO_i . O_i
 *     dS_ij = P_ij (dP_ij - D_i)       dQ_i += scale sum_j dS_ij K_j    dK_j += scale sum_i dS_ij
 * Q_i One thread owns dK and dV of a key head (or of one part of its queries), so nothing is
 * atomic. */
#include <omp.h>

#include "engine/ops/attention/attention_backward_tile.h"
#include "engine/ops/attention/attention_kernels.h"

/* One key head of one sequence, or a part of its queries. */
typedef struct KeyHead {
    Backward tiles;
    int64_t b, head, part, parts;
    float *delta; /* scale D of every query, head by head of the group */
} KeyHead;

static int64_t query_at(const AttentionView *view, int64_t b, int64_t h, int64_t i) {
    return view->q_column + (b * view->queries + i) * view->q_row + h * view->width;
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

static int64_t output_at(const AttentionView *view, int64_t b, int64_t h, int64_t i) {
    return ((b * view->queries + i) * view->heads + h) * view->width;
}

/* A block of keys and one tile of queries. */
static void tile_backward(const KeyHead *o, Tile *tile) {
    const Backward *w = &o->tiles;
    const AttentionView *view = w->view;
    const int64_t d = view->width, first = tile->first, count = tile->count;
    const Tensor *q = w->call->in[view->q_input];
    const int64_t at = query_at(view, tile->b, tile->h, first);
    const float *log_sum =
        w->call->saved[0]->data + (tile->b * view->heads + tile->h) * view->queries + first;
    const float *delta = o->delta + tile->h % view->group * view->queries + first;
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

/* D of one head, for the part's tiles. */
static void prepare_head(const KeyHead *o, int64_t h) {
    const AttentionView *view = o->tiles.view;
    const int64_t d = view->width, row = view->heads * d, tiles = o->parts * QUERIES;
    const Tensor *out = o->tiles.call->out[0];
    float *delta = o->delta + h % view->group * view->queries;
    for (int64_t first = o->part * QUERIES; first < view->queries; first += tiles) {
        const int64_t left = view->queries - first, count = left < QUERIES ? left : QUERIES;
        for (int64_t i = 0; i < count; i += LANES) {
            const int64_t at = output_at(view, o->b, h, first + i);
            v_store_part(
                delta + first + i,
                row_products(out->gradient + at, out->data + at, row, count - i, d, view->scale),
                count - i);
        }
    }
}

/* Where the gradient of a key head begins: `sums` stands in for it when there are parts. */
static void finish_keys(const KeyHead *o, int input, int64_t column, int64_t row, int64_t key,
                        int64_t count, const float *from, float *sums) {
    const AttentionView *view = o->tiles.view;
    float *gradient = o->tiles.call->in[input]->gradient;
    if (!gradient) return;
    if (sums)
        write_keys(sums + key * view->width, view->width, from, o->tiles.padded, count, view->width,
                   false);
    else
        write_keys(gradient + column + (o->b * view->keys + key) * row + o->head * view->width, row,
                   from, o->tiles.padded, count, view->width, o->tiles.call->accumulate[input]);
}

static void key_head(const KeyHead *o, float *sums) {
    const Backward *w = &o->tiles;
    const AttentionView *view = w->view;
    const int64_t d = view->width, kv = o->head * d, end = attention_keys(view, o->b);
    const float *k =
        w->call->in[view->k_input]->data + view->k_column + o->b * view->keys * view->k_row + kv;
    const float *v =
        w->call->in[view->v_input]->data + view->v_column + o->b * view->keys * view->v_row + kv;
    for (int64_t h = o->head * view->group; h < (o->head + 1) * view->group; h++)
        prepare_head(o, h);
    for (int64_t j = 0; j < view->keys; j += KEYS) {
        Tile tile = {.view = view, .b = o->b, .end = end, .key = j};
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
        for (tile.h = o->head * view->group; tile.h < (o->head + 1) * view->group; tile.h++)
            for (int64_t t = o->part; t * QUERIES < view->queries; t += o->parts) {
                tile.first = t * QUERIES;
                tile.count =
                    view->queries - tile.first < QUERIES ? view->queries - tile.first : QUERIES;
                if (tile_seen(&tile, tile.count - 1) > 0)
                    tile_backward(o, &tile);
                else if (j == 0)
                    query_sums(w, &tile);
            }
        finish_keys(o, view->k_input, view->k_column, view->k_row, j, count, w->dk, sums);
        finish_keys(o, view->v_input, view->v_column, view->v_row, j, count, w->dv,
                    sums ? sums + view->keys * d : NULL);
    }
}

/* Lays out a thread's scratch. */
static KeyHead key_head_of(const OpCall *call, const AttentionView *view,
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
    return (KeyHead){.tiles = w, .delta = w.start + QUERIES};
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
            KeyHead own = key_head_of(call, &view, &dropout,
                                      (float *)call->scratch + omp_get_thread_num() * floats);
            own.tiles.rounded = run->products == PRODUCTS_BF16;
            own.b = n / count / view.kv_heads;
            own.head = n / count % view.kv_heads;
            own.part = first + n % count;
            own.parts = parts;
            key_head(&own, parts > 1 ? sums + n * 2 * view.keys * view.width : NULL);
        }
        if (parts == 1) continue;
        add_parts(call, &view, view.k_input, view.k_column, view.k_row, sums, count,
                  first || call->accumulate[view.k_input], run->threads);
        add_parts(call, &view, view.v_input, view.v_column, view.v_row,
                  sums + view.keys * view.width, count, first || call->accumulate[view.v_input],
                  run->threads);
    }
}
