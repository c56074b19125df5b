/* What the forward and the backward kernel of attention share: the tile of queries, which of its
 * keys are visible, and the register block that does all of the products.
 *
 * Queries lie in the vector lanes and keys in the rows of a score tile, so that maximum,
 * exponential and sum of the softmax need nothing across lanes, and rows of K and V are read where
 * they lie, one number at a time, as the broadcast operand. Only Q (and backward dO) is transposed.
 */
#ifndef LONGHAUL_OPS_ATTENTION_TILE_H
#define LONGHAUL_OPS_ATTENTION_TILE_H

#include "engine/ops/attention/attention.h"
#include "engine/transpose_simd.h"

enum {
    ROWS = LANES == 16 ? 8 : 4, /* of a register block: with two vectors 16 (8) running sums */
    QUERIES = ATTENTION_QUERIES,
    VECTORS = QUERIES / LANES, /* of queries in a tile */
    KEYS = ATTENTION_KEYS
};

#define INLINE static inline __attribute__((always_inline))

typedef struct Tile {
    int64_t b, h;            /* sequence and query head */
    int64_t first, count;    /* queries */
    int64_t end;             /* keys 0 .. end-1 are visible to the last query */
    int vectors;             /* in use: ceil(count / LANES) */
    int64_t limit[VECTORS];  /* keys 0 .. limit-1 are computed for a vector of queries */
    int64_t masked[VECTORS]; /* from this key on some of its queries must not see it */
} Tile;

/* Keys first .. last-1 (last - first <= KEYS) for one or two neighbouring vectors of queries. */
typedef struct Span {
    int vector, vectors;
    int64_t first, last;
} Span;

static inline Tile tile_of(const AttentionView *view, int64_t b, int64_t h, int64_t first) {
    const int64_t keys = attention_keys(view, b);
    Tile tile = {.b = b, .h = h, .first = first, .count = view->queries - first, .end = keys};
    if (tile.count > QUERIES) tile.count = QUERIES;
    tile.vectors = (int)((tile.count + LANES - 1) / LANES);
    if (view->causal && first + tile.count + view->offset < keys)
        tile.end = first + tile.count + view->offset;
    if (tile.end < 0) tile.end = 0;
    for (int v = 0; v < tile.vectors; v++) {
        tile.limit[v] = tile.end;
        tile.masked[v] = INT64_MAX;
        if (!view->causal) continue;
        const int64_t seen = first + v * LANES + view->offset + 1; /* keys that lane 0 sees */
        const int64_t most = (seen + LANES - 1 + ROWS - 1) / ROWS * ROWS;
        tile.masked[v] = seen;
        if (most < tile.limit[v]) tile.limit[v] = most < 0 ? 0 : most;
    }
    return tile;
}

/* Splits keys first .. last-1 by which vectors need them; returns how many spans. */
static inline int tile_spans(const Tile *tile, int64_t first, int64_t last, Span span[VECTORS]) {
    int count = 0;
    for (int v = 0; v < tile->vectors; v += 2) {
        const int64_t a = tile->limit[v] < last ? tile->limit[v] : last;
        const bool two = v + 1 < tile->vectors;
        if (a > first) span[count++] = (Span){v, two ? 2 : 1, first, a};
        if (!two) continue;
        const int64_t from = a > first ? a : first;
        const int64_t b = tile->limit[v + 1] < last ? tile->limit[v + 1] : last;
        if (b > from) span[count++] = (Span){v + 1, 1, from, b};
    }
    return count;
}

/* sum[r][v] += sum over k < n of a[r row + k step] x (vector v of b + k b_row). */
INLINE void multiply(int rows, int vectors, int64_t n, const float *a, int64_t row, int64_t step,
                     const float *b, int64_t b_row, vfloat sum[ROWS][2]) {
    for (int64_t k = 0; k < n; k++) {
        const vfloat b0 = v_load(b + k * b_row);
        const vfloat b1 = vectors == 2 ? v_load(b + k * b_row + LANES) : b0;
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) {
            const vfloat s = v_set(a[r * row + k * step]);
            sum[r][0] += s * b0;
            if (vectors == 2) sum[r][1] += s * b1;
        }
    }
}

/* All-ones lanes where key j is visible to the queries of a vector whose lane 0 sees keys below
 * `masked`. */
INLINE vint visible(int64_t j, int64_t masked) {
    static const int32_t lane[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    vint lanes;
    memcpy(&lanes, lane, sizeof lanes);
    return lanes >= (int32_t)(j - masked + 1);
}

/* Asks the second-level cache for rows first .. first+count-1 of a head, to be read or written. A
 * head's rows lie far apart, so the processor does not foresee them; with short sequences waiting
 * for them took a third of the time. */
INLINE void prefetch_rows(const float *head, int64_t row, int64_t first, int64_t count,
                          int64_t width, bool write) {
    for (int64_t i = first; i < first + count; i++)
        for (int64_t c = 0; c < width; c += 16) {
            if (write)
                __builtin_prefetch(head + i * row + c, 1, 2);
            else
                __builtin_prefetch(head + i * row + c, 0, 2);
        }
}

/* Likewise for the keys that come KEYS later, while `rows` from key j are worked on. */
INLINE void prefetch_keys(const float *k, int64_t k_row, int64_t j, int64_t rows, int64_t end,
                          int64_t width, bool write) {
    if (j + KEYS + rows <= end) prefetch_rows(k, k_row, j + KEYS, rows, width, write);
}

/* What the tile will need when its turn comes: one head ahead, the rows with the numbers of the
 * present tile. Inlined by force: compilers take a function that only prefetches for one without
 * effect and drop the call. */
INLINE void prefetch_next_head(const OpCall *call, const AttentionView *view, const Tile *tile,
                               bool backward) {
    const int64_t h = (tile->h + 1) % view->heads, b = tile->b + (h == 0);
    if (b == view->batch) return;
    const int64_t d = view->width, kv = h / view->group * d, out = view->heads * d;
    const int64_t first = tile->first, count = tile->count;
    const int64_t keys = first + count <= view->keys ? count : 0;
    const int64_t q_at = view->q_column + b * view->queries * view->q_row + h * d;
    const int64_t k_at = view->k_column + b * view->keys * view->k_row + kv;
    const int64_t v_at = view->v_column + b * view->keys * view->v_row + kv;
    const int64_t out_at = b * view->queries * out + h * d;
    const Tensor *q = call->in[view->q_input], *k = call->in[view->k_input];
    const Tensor *v = call->in[view->v_input];
    prefetch_rows(q->data + q_at, view->q_row, first, count, d, false);
    prefetch_rows(k->data + k_at, view->k_row, first, keys, d, false);
    prefetch_rows(v->data + v_at, view->v_row, first, keys, d, false);
    prefetch_rows(call->out[0]->data + out_at, out, first, count, d, !backward);
    if (!backward) return;
    prefetch_rows(call->out[0]->gradient + out_at, out, first, count, d, false);
    if (q->gradient) prefetch_rows(q->gradient + q_at, view->q_row, first, count, d, true);
    if (k->gradient) prefetch_rows(k->gradient + k_at, view->k_row, first, keys, d, true);
    if (v->gradient) prefetch_rows(v->gradient + v_at, view->v_row, first, keys, d, true);
}

/* to[c][i] = from[i][c] scale for the rows i < count of a head; the lanes of unused rows are zero.
 */
static inline void tile_transpose(float *to, const float *from, int64_t from_row, int64_t count,
                                  int64_t width, float scale) {
    for (int64_t i = 0; i < count; i += LANES)
        for (int64_t c = 0; c < width; c += LANES) {
            vfloat block[LANES];
            for (int64_t r = 0; r < LANES; r++)
                block[r] = i + r < count
                               ? v_load_part(from + (i + r) * from_row + c, width - c) * scale
                               : v_zero();
            v_transpose(block);
            for (int64_t r = 0; r < LANES && c + r < width; r++)
                v_store(to + (c + r) * QUERIES + i, block[r]);
        }
}

/* to[i][c] = from[c][i] scale[i], or that added to it. */
static inline void tile_transpose_back(float *to, int64_t to_row, const float *from, int64_t count,
                                       int64_t width, const vfloat scale[VECTORS], bool add) {
    for (int64_t i = 0; i < count; i += LANES)
        for (int64_t c = 0; c < width; c += LANES) {
            vfloat block[LANES];
            for (int64_t r = 0; r < LANES; r++)
                block[r] = c + r < width ? v_load(from + (c + r) * QUERIES + i) * scale[i / LANES]
                                         : v_zero();
            v_transpose(block);
            for (int64_t r = 0; r < LANES && i + r < count; r++) {
                float *row = to + (i + r) * to_row + c;
                const vfloat before = add ? v_load_part(row, width - c) : v_zero();
                v_store_part(row, before + block[r], width - c);
            }
        }
}

#endif
