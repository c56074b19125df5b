/* Dropout factors of attention weights: made again, not kept, for backward. */
#ifndef LONGHAUL_OPS_ATTENTION_DROPOUT_H
#define LONGHAUL_OPS_ATTENTION_DROPOUT_H

#include "engine/ops/attention/attention_tile.h"
#include "engine/random_simd.h"

/* Eight keys a lane. */
enum { DROPOUT_KEYS = (KEYS + 8 * LANES - 1) / (8 * LANES) * 8 * LANES };

/* factor[j] = 0 or the scale, for query first + i and the `count` keys from the tile's first, which
 * is a multiple of 8. */
static inline void row_dropout(const AttentionDropout *dropout, const Tile *tile, int64_t i,
                               int64_t count, float factor[DROPOUT_KEYS]) {
    const AttentionView *view = tile->view;
    const int64_t row = (tile->b * view->heads + tile->h) * view->queries + tile->first + i;
    for (int64_t j = 0; j < count; j += 8 * LANES) {
        vuint c[4] = {v_set_unsigned((uint32_t)row),
                      v_set_unsigned((uint32_t)((tile->key + j) / 8)),
                      v_set_unsigned((uint32_t)dropout->item),
                      v_set_unsigned((uint32_t)(dropout->item >> 32))};
        for (uint32_t lane = 0; lane < LANES; lane++) c[1][lane] += lane;
        v_philox(dropout->key, c);
        uint32_t words[4][LANES];
        memcpy(words, c, sizeof words);
        float *to = factor + j;
        for (int lane = 0; lane < LANES; lane++)
            for (int w = 0; w < 4; w++, to += 2) {
                const uint32_t word = words[w][lane];
                to[0] = (word & 0xFFFFu) < dropout->threshold ? 0.0f : dropout->scale;
                to[1] = word >> 16 < dropout->threshold ? 0.0f : dropout->scale;
            }
    }
}

#endif
