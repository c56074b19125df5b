/* Backward, piece by piece: with the log-sum-exp of all pieces, each is a dense attention's
 * backward of its own. What a group's keys take is added where other groups have added before, so a
 * thread owns a group whose keys no other group sees, otherwise all groups of a head; and with
 * relative scores one head of several sequences, whose sums for r, u and v are joined in the end,
 * in order. */
#include <omp.h>

#include "engine/ops/attention/attention_backward_tile.h"
#include "engine/ops/pattern_attention/pattern_attention_kernels.h"
#include "engine/ops/pattern_attention/pattern_attention_tile.h"

static const AttentionDropout no_dropout = {0};

/* Sums of one thread for r, u and v: distances fall from row to row, and rows beyond both ends take
 * what tiles have beyond theirs. */
enum { SLOT_MARGIN = QUERIES + KEYS + 2 * ROWS };
static int64_t slot_rows(const Relative *relative) {
    return relative->count + 2 * SLOT_MARGIN;
}

typedef struct Owner {
    Backward tiles;
    const PatternAttention *attributes;
    const OpCall *call;
    int piece;
    int64_t b, h, L;
    const float *delta; /* scale D of all queries, (B, H, L) */
    Relative relative;
    float *q_bare, *q_v;         /* Q; Q + v */
    float *x, *band, *band_rows; /* X, and the chunk's copies of R as columns and as rows */
    int64_t column;              /* of these, the tile's first */
    float *slot, *gathered;      /* slot: rows of r, then u, then v */
} Owner;

static void set_queries(const Owner *o, const PatternGroup *group, const GroupRows *rows,
                        const Tile *tile, float deltas[QUERIES]) {
    const Backward *w = &o->tiles;
    const int64_t d = w->view->width, count = tile->count;
    const int64_t first = group->q_first + tile->first * group->step;
    const int64_t line = (o->b * o->attributes->heads + o->h) * o->L + first;
    for (int64_t i = 0; i < QUERIES; i++) {
        w->start[i] = i < count ? -o->call->saved[0]->data[line + i * group->step] : -INFINITY;
        deltas[i] = i < count ? o->delta[line + i * group->step] : 0.0f;
    }
    const int64_t channels = o->attributes->heads * d;
    const float *q = rows->q + tile->first * rows->q_row;
    const float *g = o->call->out[0]->gradient + (o->b * o->L + first) * channels + o->h * d;
    copy_rows(w->g, w->padded, g, group->step * channels, count, d, w->rounded);
    copy_rows(w->q, w->padded, q, rows->q_row, count, d, w->rounded && !o->relative.r);
    if (!o->relative.r) return;
    const int64_t whole = (count + ROWS - 1) / ROWS * ROWS;
    memset(o->q_v + count * w->padded, 0, (size_t)((whole - count) * w->padded) * sizeof(float));
    add_to_rows(o->q_v, w->q, w->padded, count, o->relative.v, d, w->rounded);
    add_to_rows(w->q, w->q, w->padded, count, o->relative.u, d, w->rounded);
}

static __attribute__((noinline)) void band_query_strip(const Owner *o, const Tile *tile, int64_t i,
                                                       int64_t c, float *dq) {
    const Backward *w = &o->tiles;
    const int64_t n = strip_columns(tile, i), C = strip_column(i);
    const float *a = o->x + i * BAND + C, *b = o->band_rows + (o->column + C) * w->padded + c;
    if (w->padded - c > LANES)
        query_block(2, w, tile, i, c, n, a, BAND, b, w->padded, dq, true);
    else
        query_block(1, w, tile, i, c, n, a, BAND, b, w->padded, dq, true);
}

static __attribute__((noinline)) void band_key_strip(const Backward *w, int64_t c, int64_t n,
                                                     const float *a, const float *b, float *to) {
    if (w->padded - c > LANES)
        key_block(2, w, n, a, BAND, b, to);
    else
        key_block(1, w, n, a, BAND, b, to);
}

/* sums += the column sums of ROWS rows of a, up to whole vectors. */
static inline void add_columns(float *sums, const float *a, int64_t a_row, int64_t columns) {
    for (int64_t n = 0; n < columns; n += LANES) {
        vfloat sum = v_load(sums + n);
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; r++) sum += v_load(a + r * a_row + n);
        v_store(sums + n, sum);
    }
}

/* A vector of to += sum over n of weights[n] times row n of b. */
static inline void add_weighted(float *to, const float *weights, int64_t count, const float *b,
                                int64_t b_row) {
    vfloat sum[4] = {v_load(to), v_zero(), v_zero(), v_zero()};
    int64_t n = 0;
    for (; n + 4 <= count; n += 4)
#pragma GCC unroll 4
        for (int m = 0; m < 4; m++) sum[m] += v_load(b + (n + m) * b_row) * weights[n + m];
    for (; n < count; n++) sum[0] += v_load(b + n * b_row) * weights[n];
    v_store(to, (sum[0] + sum[1]) + (sum[2] + sum[3]));
}

/* What u and v take of a tile. */
static void bias_gradients(const Owner *o, const Tile *tile) {
    const Backward *w = &o->tiles;
    const int64_t padded = w->padded, seen = strip_seen(tile, tile->count - 1);
    float *du = o->slot + slot_rows(&o->relative) * padded, *dv = du + padded;
    float by_key[BAND] = {0}, by_distance[BAND] = {0};
    for (int64_t i = 0; i < tile->count; i += ROWS) {
        if (strip_seen(tile, i) > 0)
            add_columns(by_key, w->dscores + i * KEYS, KEYS, strip_seen(tile, i));
        add_columns(by_distance, o->x + i * BAND, BAND, QUERIES + tile->keys);
    }
    for (int64_t c = 0; c < padded; c += LANES) {
        add_weighted(du + c, by_key, seen, w->key_rows + c / PANEL * PANEL * KEYS + c % PANEL,
                     PANEL);
        add_weighted(dv + c, by_distance, QUERIES + tile->keys - 1,
                     o->band_rows + o->column * padded + c, padded);
    }
}

/* dX is dS with rows one number longer; what it adds to dQ, dR, du and dv. */
static void band_gradients(const Owner *o, const Tile *tile, int64_t apart, float *dq) {
    const Backward *w = &o->tiles;
    const Relative *relative = &o->relative;
    const int64_t padded = w->padded, top = band_top(tile, apart);
    const int64_t whole = (tile->count + ROWS - 1) / ROWS * ROWS;
    memset(o->x, 0, (size_t)(QUERIES * BAND) * sizeof(float));
    for (int64_t i = 0; i < whole; i++) {
        const int64_t seen = strip_seen(tile, i / ROWS * ROWS);
        for (int64_t j = 0; j < seen; j += LANES)
            v_store(o->x + i * BAND + QUERIES - 1 - i + j, v_load(w->dscores + i * KEYS + j));
    }
    if (dq)
        for (int64_t c = 0; c < padded; c += PANEL)
            for (int64_t i = 0; i < tile->count; i += ROWS)
                if (strip_seen(tile, i) > 0) band_query_strip(o, tile, i, c, dq);
    float *dr = o->slot + (relative->count - 1 + SLOT_MARGIN - top) * padded;
    const int64_t left = QUERIES - whole, right = QUERIES + tile->keys - 1;
    for (int64_t c = 0; c < padded; c += PANEL)
        for (int64_t C = left; C < right; C += ROWS) {
            int64_t from = QUERIES - C - ROWS, to = QUERIES - C + tile->keys;
            if (from < 0) from = 0;
            if (to > whole) to = whole;
            if (from < to)
                band_key_strip(w, c, to - from, o->x + from * BAND + C, o->q_v + from * padded + c,
                               dr + C * padded + c);
        }
    bias_gradients(o, tile);
}

/* The rows that come next, of this group or the one behind it: they lie too far apart for the
 * processor to foresee them. */
static void prefetch_queries(const Owner *o, const PatternGroup *group, const GroupRows *rows,
                             const Tile *tile, float *dq) {
    const int64_t d = o->tiles.view->width, channels = o->attributes->heads * d;
    const int64_t next = tile->first + QUERIES, at = group->q_first + next;
    if (group->step != 1 || at + QUERIES > o->L) return;
    const float *g = o->call->out[0]->gradient + (o->b * o->L + at) * channels + o->h * d;
    prefetch_rows(rows->q + next * rows->q_row, rows->q_row, QUERIES, d, false);
    prefetch_rows(g, channels, QUERIES, d, false);
    if (dq) prefetch_rows(dq + QUERIES * rows->q_row, rows->q_row, QUERIES, d, true);
}

static void group_tile(const Owner *o, const PatternGroup *group, const GroupRows *rows,
                       Tile *tile) {
    const Backward *w = &o->tiles;
    const OpCall *call = o->call;
    const int64_t apart = group->q_first - group->k_first;
    float deltas[QUERIES], *dq = call->in[PATTERN_Q]->gradient;
    if (dq) dq += rows->q - call->in[PATTERN_Q]->data + tile->first * rows->q_row;
    set_queries(o, group, rows, tile, deltas);
    prefetch_queries(o, group, rows, tile, dq);
    if (o->relative.r) begin_with_band(tile, o->q_v, w->padded, o->band + o->column, o->x);
    tile_scores(tile, w->q, w->padded, w->keys, w->start, w->weights);
    tile_dscores(w, tile, deltas);
    const bool add = o->piece || tile->key || call->accumulate[PATTERN_Q];
    for (int64_t c = 0; dq && c < w->padded; c += PANEL)
        for (int64_t i = 0; i < tile->count; i += ROWS)
            if (!add || strip_seen(tile, i) > 0) query_strip(w, tile, i, c, dq, add);
    key_sums(w, tile, w->weights, w->g, w->dv);
    key_sums(w, tile, w->dscores, w->q, w->dk);
    if (o->relative.r) band_gradients(o, tile, apart, dq);
}

static void write_block(const Owner *o, const PatternGroup *group, const GroupRows *rows,
                        int64_t key, int64_t count) {
    const Backward *w = &o->tiles;
    const int64_t d = w->view->width, row = extent(o->call->in[rows->key_input], 2);
    float *gradient = o->call->in[rows->key_input]->gradient;
    if (!gradient) return;
    gradient += rows->key_at;
    const bool add = o->piece || o->call->accumulate[rows->key_input];
    if (!group->summaries) {
        float *to = gradient + (group->k_first + key * group->step) * row;
        write_keys(to, group->step * row, w->dk, w->padded, count, d, add);
        write_keys(to + rows->value_apart, group->step * row, w->dv, w->padded, count, d, add);
        return;
    }
    for (int64_t n = 0; n < count; n++) {
        float *to = gradient + pattern_summary(o->attributes, o->h, key + n) * row;
        write_keys(to, row, w->dk + n * w->padded, w->padded, 1, d, true);
        write_keys(to + rows->value_apart, row, w->dv + n * w->padded, w->padded, 1, d, true);
    }
}

/* Copies of R for the queries from `first` on, as many as a chunk has, and the tile's keys. */
static void pack_chunk(Owner *o, const PatternGroup *group, int64_t first, const Tile *tile) {
    const Backward *w = &o->tiles;
    const AttentionView *view = tile->view;
    const Relative *relative = &o->relative;
    const int64_t d = view->width, left = view->queries - first, padded = w->padded;
    const int64_t count = left < ATTENTION_CHUNK ? left : ATTENTION_CHUNK;
    const int64_t tiles = (count + QUERIES - 1) / QUERIES, columns = tiles * QUERIES + tile->keys;
    const int64_t top = chunk_top(first, tiles, tile->key, group->q_first - group->k_first);
    pack_band(o->band, relative, top, columns, d, view->scale * LOG2_E, w->rounded);
    for (int64_t C = 0; C < columns; C++) {
        const int64_t t = top - C;
        float *to = o->band_rows + C * padded;
        memset(to, 0, (size_t)padded * sizeof(float));
        for (int64_t c = 0; c < d && t >= 0 && t < relative->count; c += LANES)
            v_store(to + c,
                    v_operand(v_load_part(relative->r + t * relative->row + c, d - c), w->rounded));
    }
    o->column = (tiles - 1) * QUERIES;
}

static void group_backward(Owner *o, const PatternGroup *group) {
    GroupRows rows = rows_of_group(o->call, o->attributes, o->piece, group, o->b, o->h);
    Backward *w = &o->tiles;
    if (group->keys < 1) return;
    if (group->summaries)
        gather_summaries(o->gathered, o->attributes, o->h, group, &rows,
                         o->call->in[rows.key_input]->data);
    const AttentionView view = view_of_group(o->attributes, group, &rows);
    const int64_t d = view.width;
    w->view = &view;
    for (int64_t j = 0; j < view.keys; j += KEYS) {
        Tile tile = {.view = &view, .end = view.keys, .key = j};
        tile.keys = view.keys - j < KEYS ? view.keys - j : KEYS;
        const float *k = rows.k + j * view.k_row, *v = rows.v + j * view.v_row;
        pack_keys(w->keys, k, view.k_row, tile.keys, d, view.scale * LOG2_E, w->rounded);
        pack_keys(w->values, v, view.v_row, tile.keys, d, view.scale, w->rounded);
        pack_channels(w->key_rows, k, view.k_row, tile.keys, d, w->rounded);
        const int64_t whole = (tile.keys + ROWS - 1) / ROWS * ROWS;
        memset(w->dk, 0, (size_t)(whole * w->padded) * sizeof(float));
        memset(w->dv, 0, (size_t)(whole * w->padded) * sizeof(float));
        for (int64_t i = 0; i < view.queries; i += QUERIES) {
            tile.first = i;
            tile.count = view.queries - i < QUERIES ? view.queries - i : QUERIES;
            if (o->relative.r && i % ATTENTION_CHUNK == 0) pack_chunk(o, group, i, &tile);
            if (tile_seen(&tile, tile.count - 1) > 0) group_tile(o, group, &rows, &tile);
            o->column -= QUERIES;
        }
        write_block(o, group, &rows, j, tile.keys);
    }
    w->view = NULL;
}

/* scale D of all queries. */
static void make_delta(const OpCall *call, const PatternAttention *a, float *delta, int threads) {
    const int64_t L = extent(call->out[0], 1), d = a->width, row = a->heads * d;
    const float scale = (float)(1.0 / sqrt((double)d));
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (int64_t n = 0; n < extent(call->out[0], 0) * a->heads; n++)
        for (int64_t i = 0; i < L; i += LANES) {
            const int64_t at = (n / a->heads * L + i) * row + n % a->heads * d;
            v_store_part(delta + n * L + i,
                         row_products(call->out[0]->gradient + at, call->out[0]->data + at, row,
                                      L - i, d, scale),
                         L - i);
        }
}

/* Lays out a thread's scratch. */
static Owner owner_with(const OpCall *call, const Run *run, const float *delta, float *scratch) {
    const PatternAttention *a = call->attributes;
    const int64_t padded = (a->width + LANES - 1) / LANES * LANES;
    Owner o = {.attributes = a, .call = call, .L = extent(call->out[0], 1), .delta = delta};
    Backward *w = &o.tiles;
    w->dropout = &no_dropout;
    w->rounded = run->products == PRODUCTS_BF16;
    w->padded = padded;
    w->q = scratch;
    w->g = w->q + QUERIES * padded;
    w->weights = w->g + QUERIES * padded;
    w->dscores = w->weights + QUERIES * KEYS;
    w->keys = w->dscores + QUERIES * KEYS;
    w->values = w->keys + KEYS * padded;
    w->dk = w->values + KEYS * padded;
    w->dv = w->dk + KEYS * padded;
    w->key_rows = w->dv + KEYS * padded;
    w->start = w->key_rows + KEYS * ((padded + PANEL - 1) / PANEL * PANEL);
    o.gathered = w->start + QUERIES;
    o.q_v = o.gathered; /* summaries have no relative scores */
    o.x = o.q_v + QUERIES * padded;
    o.band = o.x + QUERIES * BAND;
    o.band_rows = o.band + padded * BAND_CHUNK;
    return o;
}

/* r, u and v of head h from `parts` slots. */
static void join_slots(const OpCall *call, const PatternAttention *a, int64_t h, const float *slots,
                       int64_t parts, int64_t padded) {
    const Relative relative = relative_of(call, a, h);
    const int64_t rows = slot_rows(&relative), size = (rows + 2) * padded, d = a->width;
    for (int input = PATTERN_R; input <= PATTERN_V; input++) {
        float *gradient = call->in[input]->gradient;
        if (!gradient) continue;
        const int64_t count = input == PATTERN_R ? relative.count : 1;
        for (int64_t t = 0; t < count; t++)
            for (int64_t c = 0; c < d; c += LANES) {
                const int64_t row = input == PATTERN_R ? relative.count - 1 + SLOT_MARGIN - t
                                                       : rows + input - PATTERN_U;
                float *to = gradient + t * a->heads * d + h * d + c;
                vfloat sum = call->accumulate[input] ? v_load_part(to, d - c) : v_zero();
                for (int64_t p = 0; p < parts; p++)
                    sum += v_load(slots + (h * parts + p) * size + row * padded + c);
                v_store_part(to, sum, d - c);
            }
    }
}

/* One head of the sequences part, part + parts, ... */
static void relative_part(Owner *o, int64_t part, int64_t parts) {
    const int64_t batch = extent(o->call->out[0], 0);
    o->relative = relative_of(o->call, o->attributes, o->h);
    memset(o->slot, 0, (size_t)((slot_rows(&o->relative) + 2) * o->tiles.padded) * sizeof(float));
    for (o->b = part; o->b < batch; o->b += parts)
        for (o->piece = 0; o->piece < MOST_PIECES; o->piece++) {
            const PieceKind kind = pattern_piece(o->attributes, o->piece);
            if (kind == PIECE_NONE) break;
            for (int64_t g = 0; g < group_count(o->attributes, kind, o->L); g++) {
                const PatternGroup group = group_of(o->attributes, o->piece, o->L, g);
                group_backward(o, &group);
            }
        }
}

static void backward_relative(const OpCall *call, const Run *run, const float *delta,
                              float *scratch, int64_t each, float *slots) {
    const PatternAttention *a = call->attributes;
    const int64_t parts = pattern_parts(call);
    const int64_t padded = (a->width + LANES - 1) / LANES * LANES;
    const Relative relative = relative_of(call, a, 0);
    const int64_t size = (slot_rows(&relative) + 2) * padded;
#pragma omp parallel for num_threads(run->threads) schedule(static) if (run->threads > 1)
    for (int64_t n = 0; n < a->heads * parts; n++) {
        Owner o = owner_with(call, run, delta, scratch + omp_get_thread_num() * each);
        o.h = n / parts;
        o.slot = slots + n * size;
        relative_part(&o, n % parts, parts);
    }
#pragma omp parallel for num_threads(run->threads) schedule(static) if (run->threads > 1)
    for (int64_t h = 0; h < a->heads; h++) join_slots(call, a, h, slots, parts, padded);
}

static void backward_piece(const OpCall *call, const Run *run, int piece, const float *delta,
                           float *scratch, int64_t each) {
    const PatternAttention *a = call->attributes;
    const PieceKind kind = pattern_piece(a, piece);
    const int64_t L = extent(call->out[0], 1), groups = group_count(a, kind, L);
    const int64_t span = groups_are_apart(a, kind) ? 1 : groups, owners = groups / span;
#pragma omp parallel for num_threads(run->threads) schedule(static) if (run->threads > 1)
    for (int64_t n = 0; n < extent(call->out[0], 0) * a->heads * owners; n++) {
        Owner o = owner_with(call, run, delta, scratch + omp_get_thread_num() * each);
        o.piece = piece;
        o.b = n / owners / a->heads;
        o.h = n / owners % a->heads;
        for (int64_t g = n % owners * span; g < (n % owners + 1) * span; g++) {
            const PatternGroup group = group_of(a, piece, L, g);
            group_backward(&o, &group);
        }
    }
}

void ISA(pattern_attention_backward)(const OpCall *call, const Run *run) {
    const PatternAttention *a = call->attributes;
    const int64_t each = pattern_thread_floats(call, PHASE_BACKWARD);
    float *delta = call->scratch;
    float *scratch = delta + (tensor_size(call->saved[0]) + 15) / 16 * 16;
    const Tensor *memory = call->in[PATTERN_MEMORY];
    make_delta(call, a, delta, run->threads);
    if (memory && memory->gradient && !call->accumulate[PATTERN_MEMORY])
        memset(memory->gradient, 0, tensor_bytes(memory));
    if (relative_of(call, a, 0).r) {
        backward_relative(call, run, delta, scratch, each, scratch + run->threads * each);
        return;
    }
    for (int piece = 0; piece < MOST_PIECES && pattern_piece(a, piece) != PIECE_NONE; piece++)
        backward_piece(call, run, piece, delta, scratch, each);
}
