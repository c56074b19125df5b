/* Forward through one tile: queries against a block of keys with a running maximum and sum. Shared
 * by the operations that cut attention into tiles their own way. */
#ifndef LONGHAUL_OPS_ATTENTION_FORWARD_TILE_H
#define LONGHAUL_OPS_ATTENTION_FORWARD_TILE_H

#include <math.h>

#include "engine/ops/attention/attention_dropout.h"
#include "engine/vmath.h"

/* Where a chunk's rows lie: queries, running results, and those of the call. */
typedef struct Forward {
    const OpCall *call; /* whose next head is prefetched; NULL: none */
    const AttentionDropout *dropout;
    bool rounded;   /* products=bf16 */
    int64_t padded; /* width rounded up to whole vectors */
    float *q, *o;   /* rows x padded; o: sum of P V so far */
    float *largest; /* of each query, base 2 */
    float *sums;    /* of its weights, still a vector each */
    float *keys;    /* the block's K^T, scaled */
    float *values;  /* and V */
    float *scores;  /* QUERIES x KEYS, then weights */
    float *out, *log_sum;
    int64_t out_row;
} Forward;

/* Is the block the last one that a strip sees? */
static inline bool last_block(const Tile *tile, int64_t i) {
    Tile rest = *tile;
    rest.keys = INT64_MAX;
    return strip_seen(&rest, i) <= tile->keys;
}

/* Lane r is the largest number in rows[r]; rows is overwritten. */
static inline vfloat largest_of_rows(vfloat rows[LANES]) {
    v_transpose(rows);
#pragma GCC unroll 4
    for (int half = LANES / 2; half > 0; half /= 2)
#pragma GCC unroll 8
        for (int i = 0; i < half; i++) rows[i] = v_max(rows[i], rows[i + half]);
    return rows[0];
}

/* What a tile's queries need between its products. */
typedef struct Softmax {
    float top[QUERIES + LANES];     /* maximum so far, 0 for a query that has seen no key yet */
    float keep[QUERIES + LANES];    /* what the sums so far are to be multiplied with */
    float inverse[QUERIES + LANES]; /* of the sum of weights, once it is final */
    float log_sum[QUERIES + LANES]; /* base 2, likewise */
} Softmax;

/* The new maximum of a strip. A query that has seen no key yet has -inf for it: 0 stands in, so
 * that no difference of infinities arises. */
static void find_top(const Forward *f, const Tile *tile, int64_t i, Softmax *softmax) {
    const int64_t seen = strip_seen(tile, i);
    const float *scores = f->scores + i * KEYS;
    vfloat rows[LANES];
    for (int r = 0; r < LANES; r++) rows[r] = v_set(-INFINITY);
    for (int64_t j = 0; j < seen; j += LANES)
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; r++) rows[r] = v_max(rows[r], v_load(scores + r * KEYS + j));
    const vfloat before = tile->key ? v_load(f->largest + i) : v_set(-INFINITY);
    const vfloat largest = v_max(before, largest_of_rows(rows));
    const vfloat top = v_select(largest == -INFINITY, v_zero(), largest);
    v_store(f->largest + i, largest);
    v_store(softmax->top + i, top);
    if (tile->key) v_store(softmax->keep + i, v_exp2_weight(before - top));
}

static void drop_weights(const Forward *f, const Tile *tile, int64_t i) {
    const int64_t seen = strip_seen(tile, i);
    for (int r = 0; r < ROWS; r++) {
        float factor[DROPOUT_KEYS], *row = f->scores + (i + r) * KEYS;
        row_dropout(f->dropout, tile, i + r, seen, factor);
        for (int64_t j = 0; j < seen; j += LANES)
            v_store(row + j, v_load(row + j) * v_load(factor + j));
    }
}

/* Scores of a strip to weights relative to the maximum. Their sum is that before dropout. */
static __attribute__((noinline)) void weigh(const Forward *f, const Tile *tile, int64_t i,
                                            const Softmax *softmax) {
    const int64_t seen = strip_seen(tile, i);
    float *scores = f->scores + i * KEYS, *sums = f->sums + i * LANES;
    vfloat sum[ROWS];
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; r++)
        sum[r] = tile->key ? v_load(sums + r * LANES) * softmax->keep[i + r] : v_zero();
    for (int64_t j = 0; j < seen; j += LANES)
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; r++) {
            const vfloat p = v_exp2_weight(v_load(scores + r * KEYS + j) - softmax->top[i + r]);
            v_store(scores + r * KEYS + j, p);
            sum[r] += p;
        }
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; r++) v_store(sums + r * LANES, sum[r]);
    if (f->dropout->threshold) drop_weights(f, tile, i);
    if (f->rounded) round_rows(scores, KEYS, ROWS, (seen + LANES - 1) / LANES);
}

static void finish_sums(const Forward *f, int64_t i, Softmax *softmax) {
    vfloat rows[LANES];
    for (int r = 0; r < LANES; r++)
        rows[r] = r < ROWS ? v_load(f->sums + (i + r) * LANES) : v_zero();
    const vfloat total = sum_of_rows(rows);
    const vint empty = total == 0.0f;
    v_store(softmax->inverse + i, v_select(empty, v_zero(), 1.0f / total));
    const vfloat log_sum = v_load(softmax->top + i) + v_log(total) * LOG2_E;
    v_store(softmax->log_sum + i, v_select(empty, v_set(INFINITY), log_sum));
}

/* O = O keep + P V for a strip and up to two vectors of channels from c. keep is NULL for the first
 * block of keys; inverse is NULL but for the last one. */
ALWAYS_INLINE void value_block(const int vectors, const Forward *f, const Tile *tile, int64_t i,
                               int64_t c, const float *keep, const float *inverse) {
    float *o = f->o + i * f->padded + c;
    vfloat sum[ROWS][2];
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; r++) {
        for (int v = 0; v < vectors; v++)
            sum[r][v] = keep ? v_load(o + r * f->padded + v * LANES) * keep[r] : v_zero();
    }
    multiply(vectors, strip_seen(tile, i), f->scores + i * KEYS, KEYS, 1, f->values + c * KEYS,
             PANEL, sum);
    if (!inverse) {
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; r++)
            for (int v = 0; v < vectors; v++) v_store(o + r * f->padded + v * LANES, sum[r][v]);
        return;
    }
    const int64_t left = tile->view->width - c, last = vectors - 1;
    float *out = f->out + i * f->out_row + c;
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; r++)
        if (i + r < tile->count) {
            if (vectors == 2) v_store(out + r * f->out_row, sum[r][0] * inverse[r]);
            v_store_part(out + r * f->out_row + last * LANES, sum[r][last] * inverse[r],
                         left - last * LANES);
        }
}

static __attribute__((noinline)) void value_strip(const Forward *f, const Tile *tile, int64_t i,
                                                  int64_t c, const float *keep,
                                                  const float *inverse) {
    if (f->padded - c > LANES)
        value_block(2, f, tile, i, c, keep, inverse);
    else
        value_block(1, f, tile, i, c, keep, inverse);
}

static void tile_forward(const Forward *f, const Tile *tile) {
    Softmax softmax;
    int64_t finished = 0; /* queries, an initial part of the tile's */
    tile_scores(tile, f->q, f->padded, f->keys, NULL, f->scores);
    for (int64_t i = 0; i < tile->count; i += ROWS)
        if (strip_seen(tile, i) > 0) find_top(f, tile, i, &softmax);
    for (int64_t i = 0; i < tile->count; i += ROWS) {
        if (strip_seen(tile, i) > 0) weigh(f, tile, i, &softmax);
        if (f->call && tile->key == 0) prefetch_next_head(f->call, tile, i, false);
    }
    for (int64_t i = 0; i < tile->count && last_block(tile, i); i += ROWS, finished = i)
        if (strip_seen(tile, i) > 0) finish_sums(f, i, &softmax);
    for (int64_t c = 0; c < f->padded; c += PANEL)
        for (int64_t i = 0; i < tile->count; i += ROWS)
            if (strip_seen(tile, i) > 0)
                value_strip(f, tile, i, c, tile->key ? softmax.keep + i : NULL,
                            i < finished ? softmax.inverse + i : NULL);
    for (int64_t i = 0; i < finished && i < tile->count; i++)
        if (strip_seen(tile, i / ROWS * ROWS) > 0) f->log_sum[i] = softmax.log_sum[i];
}

#endif
