/* What the kernels of pattern attention share: groups as dense causal attentions between evenly
 * spaced rows, for the tiles of attention, and the band of relative scores.
 *
 * The band: queries i of a tile and keys j of its block are i - j + t apart, so that the products
 * X[i][C] = (q_i + v) . r with one distance a column C = QUERIES - 1 - i + j are a matrix product,
 * and what scores begin with is the same memory read with rows one number shorter. */
#ifndef LONGHAUL_OPS_PATTERN_ATTENTION_TILE_H
#define LONGHAUL_OPS_PATTERN_ATTENTION_TILE_H

#include "engine/ops/attention/attention_tile.h"
#include "engine/ops/pattern_attention/pattern_attention.h"

/* Columns of the band: those of a tile, and what its last panel reads beyond; the same of a chunk
 * of queries, whose tiles share a copy of R. */
enum {
    BAND = (QUERIES + KEYS + ROWS + PANEL + 15) / 16 * 16,
    BAND_CHUNK = BAND + ATTENTION_CHUNK - QUERIES
};

/* Queries q_first, q_first + step, ... and keys k_first, k_first + step, ...: query number i sees
 * the keys with numbers up to i + offset. */
typedef struct PatternGroup {
    int64_t q_first, queries, k_first, keys, step, offset;
    bool summaries; /* keys are those with the pattern's numbers instead */
} PatternGroup;

static inline int64_t group_count(const PatternAttention *a, PieceKind kind, int64_t length) {
    if (kind == PIECE_RESIDUES) return length < a->length ? length : a->length;
    return (length + a->length - 1) / a->length;
}

/* Has every key one group that sees it? */
static inline bool groups_are_apart(const PatternAttention *a, PieceKind kind) {
    return kind != PIECE_SUMMARIES && (kind != PIECE_BEFORE || a->memory <= a->length);
}

/* WINDOW: key t' of the segment before is seen by query t of the own one when t' > t, which is
 * causal when both are counted backwards. */
static inline PatternGroup group_of(const PatternAttention *a, int piece, int64_t length,
                                    int64_t g) {
    const PieceKind kind = pattern_piece(a, piece);
    const int64_t l = a->length, first = g * l;
    const int64_t queries = length - first < l ? length - first : l;
    PatternGroup group = {.q_first = first, .queries = queries, .k_first = first, .step = 1};
    if (kind == PIECE_OWN) {
        group.keys = queries;
    } else if (kind == PIECE_BEFORE) {
        group.k_first = first > a->memory ? first - a->memory : 0;
        group.offset = group.keys = first - group.k_first;
    } else if (kind == PIECE_SUMMARIES) {
        group.offset = group.keys = g * a->summaries;
        group.summaries = true;
    } else if (kind == PIECE_WINDOW) {
        group.q_first = first + queries - 1;
        group.k_first = first - 1;
        group.keys = g ? l : 0;
        group.offset = l - queries - 1;
        group.step = -1;
    } else {
        group.q_first = group.k_first = g;
        group.queries = group.keys = (length - g + l - 1) / l;
        group.step = l;
        group.offset = piece ? -1 : 0;
    }
    return group;
}

/* Rows of one head of one sequence, and of a group in it. */
typedef struct GroupRows {
    const float *q, *k, *v; /* of the group's first query and first key */
    int64_t q_row, k_row;   /* between rows that follow each other in the group */
    int key_input;          /* which input holds keys and values, and */
    int64_t key_at;         /* where the key of the sequence's first position is in there */
    int64_t value_apart;    /* from a key to its value */
} GroupRows;

static inline GroupRows rows_of_group(const OpCall *call, const PatternAttention *a, int piece,
                                      const PatternGroup *group, int64_t b, int64_t h) {
    const Tensor *q = call->in[PATTERN_Q];
    const bool before = call->in[PATTERN_MEMORY] && pattern_piece(a, piece) == PIECE_BEFORE;
    const int input = before ? PATTERN_MEMORY : pattern_kv_input(call);
    const Tensor *keys = call->in[input];
    const int64_t L = extent(q, 1), q_row = extent(q, 2), row = extent(keys, 2);
    const int64_t column = before ? 0 : pattern_kv_column(call);
    GroupRows rows = {.key_input = input,
                      .key_at = b * L * row + column + h * a->width,
                      .value_apart = a->heads * a->width,
                      .q_row = group->step * q_row,
                      .k_row = group->step * row};
    rows.q = q->data + (b * L + group->q_first) * q_row + h * a->width;
    rows.k = keys->data + rows.key_at + group->k_first * row;
    rows.v = rows.k + rows.value_apart;
    return rows;
}

/* Keys and values of summaries, side by side: to has 2 x keys rows of `width`. */
static inline void gather_summaries(float *to, const PatternAttention *a, int64_t h,
                                    const PatternGroup *group, GroupRows *rows, const float *data) {
    for (int64_t n = 0; n < group->keys; n++) {
        const float *k = data + rows->key_at + pattern_summary(a, h, n) * rows->k_row;
        memcpy(to + n * a->width, k, (size_t)a->width * sizeof(float));
        memcpy(to + (group->keys + n) * a->width, k + rows->value_apart,
               (size_t)a->width * sizeof(float));
    }
    rows->k = to;
    rows->v = to + group->keys * a->width;
    rows->k_row = a->width;
}

/* The view of attention that the tiles look at. */
static inline AttentionView view_of_group(const PatternAttention *a, const PatternGroup *group,
                                          const GroupRows *rows) {
    return (AttentionView){.batch = 1,
                           .heads = 1,
                           .kv_heads = 1,
                           .group = 1,
                           .width = a->width,
                           .queries = group->queries,
                           .keys = group->keys,
                           .q_row = rows->q_row,
                           .k_row = rows->k_row,
                           .v_row = rows->k_row,
                           .causal = true,
                           .offset = group->offset,
                           .scale = (float)(1.0 / sqrt((double)a->width))};
}

/* Relative scores of one head. */
typedef struct Relative {
    const float *r, *u, *v; /* r NULL: none */
    int64_t row, count;     /* of r */
} Relative;

static inline Relative relative_of(const OpCall *call, const PatternAttention *a, int64_t h) {
    if (call->inputs <= PATTERN_V || !call->in[PATTERN_R]) return (Relative){0};
    return (Relative){.r = call->in[PATTERN_R]->data + h * a->width,
                      .u = call->in[PATTERN_U]->data + h * a->width,
                      .v = call->in[PATTERN_V]->data + h * a->width,
                      .row = extent(call->in[PATTERN_R], 1),
                      .count = extent(call->in[PATTERN_R], 0)};
}

/* Distance of column 0, for a group whose first query and key are `apart` apart. */
static inline int64_t band_top(const Tile *tile, int64_t apart) {
    return tile->first + QUERIES - 1 - tile->key + apart;
}

/* to = rows + x, `count` rows of `padded` numbers. */
static inline void add_to_rows(float *to, const float *rows, int64_t padded, int64_t count,
                               const float *x, int64_t width, bool rounded) {
    for (int64_t c = 0; c < padded; c += LANES) {
        const vfloat add = v_load_part(x + c, width - c);
        for (int64_t i = 0; i < count; i++)
            v_store(to + i * padded + c, v_operand(v_load(rows + i * padded + c) + add, rounded));
    }
}

/* A chunk's copy of R: column C has distance top - C. Its tiles' columns begin further right the
 * earlier their queries are. */
static inline int64_t chunk_top(int64_t first, int64_t tiles, int64_t key, int64_t apart) {
    return first + tiles * QUERIES - 1 - key + apart;
}

/* band[c][C] = scale R[top - C][c], zero where there is no such distance; C up to whole vectors. */
static inline void pack_band(float *band, const Relative *relative, int64_t top, int64_t columns,
                             int64_t width, float scale, bool rounded) {
    for (int64_t at = 0; at < columns; at += LANES)
        for (int64_t c = 0; c < width; c += LANES) {
            vfloat block[LANES];
            for (int64_t n = 0; n < LANES; n++) {
                const int64_t t = top - at - n;
                block[n] =
                    t < 0 || t >= relative->count
                        ? v_zero()
                        : v_operand(v_load_part(relative->r + t * relative->row + c, width - c),
                                    rounded) *
                              scale;
            }
            v_transpose(block);
            for (int64_t n = 0; n < LANES; n++) v_store(band + (c + n) * BAND_CHUNK + at, block[n]);
        }
}

/* The first column that a strip reads, and how many. */
static inline int64_t strip_column(int64_t i) {
    return QUERIES - ROWS - i;
}
static inline int64_t strip_columns(const Tile *tile, int64_t i) {
    return strip_seen(tile, i) + ROWS - 1;
}

ALWAYS_INLINE void band_block(const int vectors, float *x, const float *q, int64_t padded,
                              const float *band) {
    vfloat s[ROWS][2];
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; r++) s[r][0] = s[r][1] = v_zero();
    multiply(vectors, padded, q, padded, 1, band, BAND_CHUNK, s);
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; r++)
        for (int v = 0; v < vectors; v++) v_store(x + r * BAND + v * LANES, s[r][v]);
}

/* X of a strip, `columns` of them. */
static __attribute__((noinline)) void band_strip(float *x, const float *q, int64_t padded,
                                                 const float *band, int64_t columns) {
    for (; columns > LANES; columns -= PANEL, x += PANEL, band += PANEL)
        band_block(2, x, q, padded, band);
    if (columns > 0) band_block(1, x, q, padded, band);
}

/* Makes X of the tile, and the tile's scores begin with it. q: rows of Q + v; x: QUERIES x BAND;
 * band: the tile's columns of its chunk's copy. */
static inline void begin_with_band(Tile *tile, const float *q, int64_t padded, const float *band,
                                   float *x) {
    for (int64_t i = 0; i < tile->count; i += ROWS)
        if (strip_seen(tile, i) > 0)
            band_strip(x + i * BAND + strip_column(i), q + i * padded, padded,
                       band + strip_column(i), strip_columns(tile, i));
    tile->base = x + QUERIES - 1;
    tile->base_row = BAND - 1;
}

#endif
