/* Dropout factors of a tile of attention weights: made again, not kept, for backward. */
#ifndef LONGHAUL_OPS_ATTENTION_DROPOUT_H
#define LONGHAUL_OPS_ATTENTION_DROPOUT_H

#include "engine/ops/attention/attention_tile.h"
#include "engine/random_simd.h"

/* factor[j - first][query] = 0 or the scale, for the keys first .. last-1 that the tile computes;
 * first is a multiple of 8, and up to 7 rows past the last are written too. */
static inline void tile_dropout(const AttentionView *view, const AttentionDropout *dropout,
                                const Tile *tile, int64_t first, int64_t last, float *factor) {
    const int64_t row = (tile->b * view->heads + tile->h) * view->queries + tile->first;
    const vint threshold = (int32_t)dropout->threshold + (vint){0};
    for (int v = 0; v < tile->vectors; v++) {
        const int64_t end = tile->limit[v] < last ? tile->limit[v] : last;
        vuint rows = v_set_unsigned((uint32_t)(row + v * LANES));
        for (uint32_t i = 0; i < LANES; i++) rows[i] += i;
        for (int64_t j = first; j < end; j += 8) {
            vuint c[4] = {rows, v_set_unsigned((uint32_t)(j / 8)),
                          v_set_unsigned((uint32_t)dropout->item),
                          v_set_unsigned((uint32_t)(dropout->item >> 32))};
            v_philox(dropout->key, c);
            float *to = factor + (j - first) * QUERIES + v * LANES;
            for (int w = 0; w < 4; w++) {
                const vint even = (vint)(c[w] & 0xFFFFu), odd = (vint)(c[w] >> 16);
                const vfloat kept = v_set(dropout->scale);
                v_store(to + 2 * w * QUERIES, v_select(even >= threshold, kept, v_zero()));
                v_store(to + (2 * w + 1) * QUERIES, v_select(odd >= threshold, kept, v_zero()));
            }
        }
    }
}

#endif
