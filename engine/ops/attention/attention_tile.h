/* What the forward and the backward kernel of attention share: tiles of queries by blocks of keys,
 * the register block that does all of the products, and the copies that it reads from.
 *
 * Score tiles have queries in their rows and keys in the vector lanes. Keys of a block are
 * transposed once for many queries; everything else is read row by row, so the causal diagonal is
 * followed in steps of ROWS queries and LANES keys. Scores are in base 2 (log2(e) is in their
 * scale), which saves the exponential a multiplication. */
#ifndef LONGHAUL_OPS_ATTENTION_TILE_H
#define LONGHAUL_OPS_ATTENTION_TILE_H

#include "engine/bf16_simd.h"
#include "engine/ops/attention/attention.h"
#include "engine/transpose_simd.h"

enum {
    ROWS = LANES == 16  ? 8
           : LANES == 8 ? 6
                        : 4, /* of a register block, by two vectors */
    PANEL = 2 * LANES,       /* numbers that a step of a product reads */
    QUERIES = ATTENTION_QUERIES,
    KEYS = ATTENTION_KEYS
};

#define LOG2_E 1.44269504f

/* Queries first .. first+count-1 of one head against keys key .. key+keys-1. */
typedef struct Tile {
    const AttentionView *view;
    int64_t b, h;         /* sequence and query head */
    int64_t end;          /* keys end .. are hidden from all queries */
    int64_t first, count; /* 1 <= count <= QUERIES */
    int64_t key, keys;    /* 1 <= keys <= KEYS */
    const float *base;    /* scores begin with base[i base_row + j]; NULL: with zero */
    int64_t base_row;
} Tile;

/* Keys of the block up to the last one that query first + i sees. */
static inline int64_t tile_seen(const Tile *tile, int64_t i) {
    const AttentionView *view = tile->view;
    const int64_t causal = tile->first + i + view->offset + 1;
    const int64_t seen = (view->causal && causal < tile->end ? causal : tile->end) - tile->key;
    return seen < tile->keys ? seen : tile->keys;
}

/* The same for the strip of ROWS queries from i: what its last query sees. */
static inline int64_t strip_seen(const Tile *tile, int64_t i) {
    return tile_seen(tile, i + ROWS < tile->count ? i + ROWS - 1 : tile->count - 1);
}

/* 0, 1, 2 ... */
ALWAYS_INLINE vint lane_numbers(void) {
    static const int32_t lane[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    vint lanes;
    memcpy(&lanes, lane, sizeof lanes);
    return lanes;
}

/* Lane r is the sum of rows[r]; rows is overwritten. */
static inline vfloat sum_of_rows(vfloat rows[LANES]) {
    v_transpose(rows);
#pragma GCC unroll 4
    for (int half = LANES / 2; half > 0; half /= 2)
#pragma GCC unroll 8
        for (int i = 0; i < half; i++) rows[i] += rows[i + half];
    return rows[0];
}

/* sum[r][v] += sum over k < n of a[r row + k step] x (vector v of b + k b_step). `vectors` and,
 * where possible, row and steps are constants of the caller. Rows of a are addressed in threes from
 * one pointer, which is what address modes and registers allow. */
ALWAYS_INLINE void multiply(const int vectors, int64_t n, const float *a, int64_t row, int64_t step,
                            const float *b, int64_t b_step, vfloat sum[ROWS][2]) {
    const float *at[(ROWS + 2) / 3];
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; r += 3) at[r / 3] = a + r * row;
    for (; n > 0; n--) {
        const vfloat b0 = v_load(b), b1 = vectors == 2 ? v_load(b + LANES) : b0;
        b += b_step;
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; r++) {
            const vfloat x = v_set(at[r / 3][r % 3 * row]);
            sum[r][0] += x * b0;
            if (vectors == 2) sum[r][1] += x * b1;
            if (r % 3 == 2 || r == ROWS - 1) at[r / 3] += step;
        }
    }
}

/* What products read: v, rounded with products=bf16. The products themselves stay the float32
 * operations of `multiply`, so that mode gains nothing here. */
ALWAYS_INLINE vfloat v_operand(vfloat v, bool rounded) {
    return rounded ? v_round_bf16(v) : v;
}

/* The same for what is already in place: `count` rows of `vectors` vectors. */
static inline void round_rows(float *rows, int64_t row, int64_t count, int64_t vectors) {
    for (int64_t r = 0; r < count; r++)
        for (int64_t j = 0; j < vectors * LANES; j += LANES)
            v_store(rows + r * row + j, v_round_bf16(v_load(rows + r * row + j)));
}

/* Columns c .. c+LANES-1 of the LANES rows r < count of a matrix, of which `width` columns are
 * left, as columns of one vector each: to[i * PANEL + r] = from[r][i] scale, zero beyond the
 * matrix. */
ALWAYS_INLINE void transpose_block(float *to, const float *from, int64_t row, int64_t count,
                                   int64_t width, float scale, bool rounded) {
    vfloat block[LANES];
    if (count >= LANES && width >= LANES) {
#pragma GCC unroll 16
        for (int r = 0; r < LANES; r++)
            block[r] = v_operand(v_load(from + r * row), rounded) * scale;
    } else {
        for (int r = 0; r < LANES; r++)
            block[r] = r < count ? v_operand(v_load_part(from + r * row, width), rounded) * scale
                                 : v_zero();
    }
    v_transpose(block);
#pragma GCC unroll 16
    for (int r = 0; r < LANES; r++) v_store(to + r * PANEL, block[r]);
}

/* Keys (or values) of a block, scaled, in the lanes: panels of PANEL keys, in each a vector pair a
 * channel. Lanes of the last vector in use are zero beyond `count`, and channels beyond width. */
static inline void pack_keys(float *to, const float *from, int64_t row, int64_t count,
                             int64_t width, float scale, bool rounded) {
    const int64_t padded = (width + LANES - 1) / LANES * LANES;
    for (int64_t j = 0; j < count; j += LANES)
        for (int64_t c = 0; c < width; c += LANES)
            transpose_block(to + j / PANEL * PANEL * padded + c * PANEL + j % PANEL,
                            from + j * row + c, row, count - j, width - c, scale, rounded);
}

/* to[i * to_row] = a vector of row i of a matrix of which `width` columns are left, zero beyond. */
ALWAYS_INLINE void copy_column(float *to, int64_t to_row, const float *from, int64_t row,
                               int64_t count, int64_t width, bool rounded) {
    if (width >= LANES && !rounded)
        for (int64_t i = 0; i < count; i++) v_store(to + i * to_row, v_load(from + i * row));
    else
        for (int64_t i = 0; i < count; i++)
            v_store(to + i * to_row, v_operand(v_load_part(from + i * row, width), rounded));
}

/* The same rows with channels in the lanes: panels of PANEL channels, in each a vector pair a key;
 * channels from width on are zero. */
static inline void pack_channels(float *to, const float *from, int64_t row, int64_t count,
                                 int64_t width, bool rounded) {
    for (int64_t c = 0; c < width; c += LANES)
        copy_column(to + c / PANEL * PANEL * KEYS + c % PANEL, PANEL, from + c, row, count,
                    width - c, rounded);
}

/* Rows of queries side by side, `padded` numbers each, zero beyond width and up to whole strips. */
static inline void copy_rows(float *to, int64_t padded, const float *from, int64_t row,
                             int64_t count, int64_t width, bool rounded) {
    for (int64_t c = 0; c < width; c += LANES)
        copy_column(to + c, padded, from + c, row, count, width - c, rounded);
    const int64_t whole = (count + ROWS - 1) / ROWS * ROWS;
    memset(to + count * padded, 0, (size_t)((whole - count) * padded) * sizeof(float));
}

/* Asks the second-level cache for `count` rows of a head, to be read or written. A head's rows lie
 * far apart, so the processor does not foresee them; with short sequences waiting for them took
 * half of the time. */
ALWAYS_INLINE void prefetch_rows(const float *head, int64_t row, int64_t count, int64_t width,
                                 const bool write) {
    for (int64_t i = 0; i < count; i++)
        for (int64_t c = 0; c < width; c += 16) {
            if (write)
                __builtin_prefetch(head + i * row + c, 1, 2);
            else
                __builtin_prefetch(head + i * row + c, 0, 2);
        }
}

/* What the strip from query i of the tile will need when its turn comes: one head ahead, the rows
 * with the same numbers. Inlined by force: compilers take a function that only prefetches for one
 * without effect and drop the call. */
ALWAYS_INLINE void prefetch_next_head(const OpCall *call, const Tile *tile, int64_t i,
                                      const bool backward) {
    const AttentionView *view = tile->view;
    const int64_t h = (tile->h + 1) % view->heads, b = tile->b + (h == 0);
    if (b == view->batch) return;
    const int64_t d = view->width, kv = h / view->group * d, out = view->heads * d;
    const int64_t first = tile->first + i, left = tile->count - i;
    const int64_t count = left < ROWS ? left : ROWS, keys = first + count <= view->keys ? count : 0;
    const int64_t q_at = view->q_column + (b * view->queries + first) * view->q_row + h * d;
    const int64_t k_at = view->k_column + (b * view->keys + first) * view->k_row + kv;
    const int64_t v_at = view->v_column + (b * view->keys + first) * view->v_row + kv;
    const int64_t out_at = (b * view->queries + first) * out + h * d;
    const Tensor *q = call->in[view->q_input], *k = call->in[view->k_input];
    const Tensor *v = call->in[view->v_input];
    prefetch_rows(q->data + q_at, view->q_row, count, d, false);
    prefetch_rows(k->data + k_at, view->k_row, keys, d, false);
    prefetch_rows(v->data + v_at, view->v_row, keys, d, false);
    prefetch_rows(call->out[0]->data + out_at, out, count, d, !backward);
    if (!backward) return;
    prefetch_rows(call->out[0]->gradient + out_at, out, count, d, false);
    if (q->gradient) prefetch_rows(q->gradient + q_at, view->q_row, count, d, true);
    if (k->gradient) prefetch_rows(k->gradient + k_at, view->k_row, keys, d, true);
    if (v->gradient) prefetch_rows(v->gradient + v_at, view->v_row, keys, d, true);
}

/* Scores of keys that not all queries of a strip see: -inf where they do not. */
ALWAYS_INLINE void mask_block(const int vectors, const Tile *tile, int64_t i, int64_t j,
                              vfloat s[ROWS][2]) {
    const int64_t left = tile->end - tile->key - j;
    const int32_t end = (int32_t)(left < PANEL ? left : PANEL);
    const int64_t first = tile->first + i + tile->view->offset + 1 - tile->key - j;
    const int32_t step = tile->view->causal;
    vint seen = (vint){0} + (int32_t)(step ? first : PANEL); /* keys that query i + r sees */
    const vfloat none = v_set(-__builtin_inff());
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; r++, seen += step)
        for (int v = 0; v < vectors; v++) {
            const vint key = lane_numbers() + v * LANES;
            s[r][v] = v_select((key >= seen) | (key >= end), none, s[r][v]);
        }
}

ALWAYS_INLINE void score_block(const int vectors, const bool based, const Tile *tile, int64_t i,
                               int64_t j, const float *q, int64_t padded, const float *keys,
                               const float *start, float *scores) {
    vfloat s[ROWS][2];
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; r++) s[r][0] = s[r][1] = v_set(start ? start[i + r] : 0.0f);
    if (based) {
        const float *base = tile->base + i * tile->base_row + j;
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; r++, base += tile->base_row)
            for (int v = 0; v < vectors; v++) s[r][v] += v_load(base + v * LANES);
    }
    multiply(vectors, padded, q + i * padded, padded, 1, keys, PANEL, s);
    if (j + vectors * LANES > tile_seen(tile, i)) mask_block(vectors, tile, i, j, s);
    scores += i * KEYS + j;
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; r++)
        for (int v = 0; v < vectors; v++) v_store(scores + r * KEYS + v * LANES, s[r][v]);
}

/* Register blocks are functions of their own: inlined, their pointers would not fit in registers.
 */
static __attribute__((noinline)) void score_strip(const Tile *tile, int64_t i, int64_t j,
                                                  const float *q, int64_t padded, const float *keys,
                                                  const float *start, float *scores) {
    if (strip_seen(tile, i) - j > LANES)
        score_block(2, false, tile, i, j, q, padded, keys, start, scores);
    else
        score_block(1, false, tile, i, j, q, padded, keys, start, scores);
}

static __attribute__((noinline)) void score_based_strip(const Tile *tile, int64_t i, int64_t j,
                                                        const float *q, int64_t padded,
                                                        const float *keys, const float *start,
                                                        float *scores) {
    if (strip_seen(tile, i) - j > LANES)
        score_block(2, true, tile, i, j, q, padded, keys, start, scores);
    else
        score_block(1, true, tile, i, j, q, padded, keys, start, scores);
}

/* scores[i][j] = start[i] + base + q_i . k_j for what the queries of the tile see, -inf for what
 * they do not, up to whole vectors of what the last of their strip sees. start: NULL for zero. */
static inline void tile_scores(const Tile *tile, const float *q, int64_t padded, const float *keys,
                               const float *start, float *scores) {
    for (int64_t j = 0; j < tile->keys; j += PANEL, keys += PANEL * padded)
        for (int64_t i = 0; i < tile->count; i += ROWS)
            if (strip_seen(tile, i) > j) {
                if (tile->base)
                    score_based_strip(tile, i, j, q, padded, keys, start, scores);
                else
                    score_strip(tile, i, j, q, padded, keys, start, scores);
            }
}

#endif
