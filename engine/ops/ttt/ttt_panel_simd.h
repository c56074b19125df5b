/* Panels, [channel][lane] with a token to a lane, and their products. */
#ifndef LONGHAUL_OPS_TTT_PANEL_SIMD_H
#define LONGHAUL_OPS_TTT_PANEL_SIMD_H

#include "engine/gemm_tile.h"
#include "engine/gradient_simd.h"
#include "engine/transpose_simd.h"
#include "engine/vmath.h"

/* A where it lies, by strides: [i][k], or the transpose of what lies as [k][i]. */
typedef struct Left {
    const float *a;
    int64_t row, step;
} Left;

/* c (rows, columns) = a b, or c += a b. b (k, columns): readable up to a whole tile of columns. */
static inline void multiply(int64_t rows, int64_t columns, int64_t k, Left left, const float *b,
                            int64_t b_row, float *c, int64_t c_row, bool add) {
    const int64_t tiles = (rows + TILE_ROWS - 1) / TILE_ROWS;
    for (int64_t j = 0; j < columns; j += TILE_COLUMNS)
        for (int64_t t = 0; t < tiles; t++) {
            const int64_t first = t * rows / tiles, last = (t + 1) * rows / tiles;
            float *to = c + first * c_row + j;
            const GemmTile tile = {.rows = last - first,
                                   .columns =
                                       columns - j < TILE_COLUMNS ? columns - j : TILE_COLUMNS,
                                   .k = k,
                                   .a = left.a + first * left.row,
                                   .a_row = left.row,
                                   .a_step = left.step,
                                   .b = b + j,
                                   .b_step = b_row,
                                   .start = add ? to : NULL,
                                   .start_row = c_row,
                                   .c = to,
                                   .c_row = c_row};
            ISA(gemm_tile)(&tile);
        }
}

/* The first `tokens` rows of `channels` numbers, `apart` from each other, into a panel of `lanes`
 * lanes, its rows `pitch` apart; lanes behind the tokens are zero. */
static inline void panel_from_rows(const float *rows, int64_t apart, int64_t tokens,
                                   int64_t channels, float *panel, int64_t pitch, int64_t lanes) {
    for (int64_t t = 0; t < lanes; t += LANES)
        for (int64_t c = 0; c < channels; c += LANES) {
            vfloat block[LANES];
            for (int64_t i = 0; i < LANES; i++)
                block[i] = t + i < tokens ? v_load_part(rows + (t + i) * apart + c, channels - c)
                                          : v_zero();
            v_transpose(block);
            for (int64_t i = 0; i < LANES && c + i < channels; i++)
                v_store(panel + (c + i) * pitch + t, block[i]);
        }
}

/* And back: target is where the first token's row begins. */
static inline void panel_to_rows(const float *panel, int64_t pitch, int64_t channels,
                                 GradientTarget target, int64_t apart, int64_t tokens) {
    for (int64_t t = 0; t < tokens; t += LANES)
        for (int64_t c = 0; c < channels; c += LANES) {
            vfloat block[LANES];
            for (int64_t i = 0; i < LANES; i++)
                block[i] = c + i < channels ? v_load(panel + (c + i) * pitch + t) : v_zero();
            v_transpose(block);
            for (int64_t i = 0; i < LANES && t + i < tokens; i++)
                v_deliver(target, (t + i) * apart + c, block[i], channels - c);
        }
}

/* Transpose of a square matrix of whole vectors. */
static inline void turn_square(const float *from, float *to, int64_t size) {
    for (int64_t t = 0; t < size; t += LANES)
        for (int64_t c = 0; c < size; c += LANES) {
            vfloat block[LANES];
            for (int64_t i = 0; i < LANES; i++) block[i] = v_load(from + (t + i) * size + c);
            v_transpose(block);
            for (int64_t i = 0; i < LANES; i++) v_store(to + (c + i) * size + t, block[i]);
        }
}

/* Sum over the channels of a vector of lanes, of a or of a b; four chains, in one order. */
static inline vfloat channel_sum(const float *a, int64_t pitch, int64_t channels) {
    vfloat sum[4] = {0};
    int64_t c = 0;
    for (; c + 4 <= channels; c += 4)
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) sum[i] += v_load(a + (c + i) * pitch);
    for (; c < channels; c++) sum[0] += v_load(a + c * pitch);
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}
static inline vfloat channel_product(const float *a, int64_t a_pitch, const float *b,
                                     int64_t b_pitch, int64_t channels) {
    vfloat sum[4] = {0};
    int64_t c = 0;
    for (; c + 4 <= channels; c += 4)
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++)
            sum[i] += v_load(a + (c + i) * a_pitch) * v_load(b + (c + i) * b_pitch);
    for (; c < channels; c++) sum[0] += v_load(a + c * a_pitch) * v_load(b + c * b_pitch);
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

/* x (LANES tokens of f channels) becomes (x - mean) / deviation; returns 1 / deviation. */
static inline vfloat normalise(float *x, int64_t pitch, int64_t f, float epsilon) {
    const float part = 1.0f / (float)f;
    const vfloat mean = channel_sum(x, pitch, f) * part;
    for (int64_t c = 0; c < f; c++) v_store(x + c * pitch, v_load(x + c * pitch) - mean);
    const vfloat variance = channel_product(x, pitch, x, pitch, f) * part;
    const vfloat inverse = 1.0f / v_sqrt(variance + epsilon);
    for (int64_t c = 0; c < f; c++) v_store(x + c * pitch, v_load(x + c * pitch) * inverse);
    return inverse;
}

/* p becomes (p - mean p - x mean (p x)) inverse: a gradient's way back through the norm whose
 * result was x; its own transpose. */
static inline void through_norm(float *p, int64_t p_pitch, const float *x, int64_t x_pitch,
                                vfloat inverse, int64_t f) {
    const float part = 1.0f / (float)f;
    const vfloat mean = channel_sum(p, p_pitch, f) * part;
    const vfloat along = channel_product(p, p_pitch, x, x_pitch, f) * part;
    for (int64_t c = 0; c < f; c++) {
        const vfloat value = v_load(p + c * p_pitch) - mean - v_load(x + c * x_pitch) * along;
        v_store(p + c * p_pitch, value * inverse);
    }
}

#endif
