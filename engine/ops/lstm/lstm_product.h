/* The small products inside the time loops of the LSTM: a group of rows times a matrix that is
 * packed once per call into panels, so that every step reads it as one stream from the second-level
 * cache. The rows are packed, too, as they arise: packed[k][TILE_PITCH]; few rows stay where they
 * are.
 *
 * Each sum runs over k in ascending order on its own, so a row's bits do not depend on the rows
 * beside it. With bf16 products (engine/bf16_simd.h) a step of k is a pair of them, and all rows
 * are packed. */
#ifndef LONGHAUL_OPS_LSTM_PRODUCT_H
#define LONGHAUL_OPS_LSTM_PRODUCT_H

#include "engine/gemm_tile.h"
#include "engine/transpose_simd.h"

enum {
    GROUP_ROWS = TILE_ROWS, /* at most, in a group */
    PANEL_VECTORS = 4,      /* of a panel; the last one has 2 when that suffices */
    PANEL = PANEL_VECTORS * LANES,
    WIDE_ROWS = LANES == 16 ? 6 : 2 /* so few rows take a whole panel at once: more sums at work */
};

/* A group's rows: row i at rows + i * apart, or all of them packed. */
typedef struct RowGroup {
    int64_t count;
    const float *rows;
    int64_t apart;
    const float *packed; /* for more than WIDE_ROWS, and for pairs */
    bool pairs;          /* as in GemmTile */
} RowGroup;

static inline __attribute__((always_inline)) void wide_of(int64_t depth, const RowGroup *group,
                                                          const float *panel, float *sums,
                                                          const int rows, const int vectors) {
    vfloat sum[WIDE_ROWS][PANEL_VECTORS];
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) sum[i][v] = v_zero();
    for (int64_t k = 0; k < depth; k++, panel += vectors * LANES) {
        vfloat b[PANEL_VECTORS];
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) b[v] = v_load(panel + v * LANES);
#pragma GCC unroll 8
        for (int i = 0; i < rows; i++) {
            const vfloat x = v_set(group->rows[i * group->apart + k]);
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++) sum[i][v] += x * b[v];
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) v_store(sums + i * PANEL + v * LANES, sum[i][v]);
}

static inline __attribute__((always_inline)) void wide_rows(int64_t depth, const RowGroup *group,
                                                            const float *panel, float *sums,
                                                            const int vectors) {
    switch (group->count) {
    case 1:
        wide_of(depth, group, panel, sums, 1, vectors);
        break;
    case 2:
        wide_of(depth, group, panel, sums, 2, vectors);
        break;
#if LANES == 16
    case 3:
        wide_of(depth, group, panel, sums, 3, vectors);
        break;
    case 4:
        wide_of(depth, group, panel, sums, 4, vectors);
        break;
    case 5:
        wide_of(depth, group, panel, sums, 5, vectors);
        break;
    case 6:
        wide_of(depth, group, panel, sums, 6, vectors);
        break;
#endif
    default:
        break;
    }
}

/* sums[i * PANEL + j] = sum over the `depth` steps of k of row i's k panel[k][j], for the
 * vectors * LANES columns of the panel; vectors, 4 or 2, is a constant of the caller. */
static inline __attribute__((always_inline)) void
product(int64_t depth, const RowGroup *group, const float *panel, float *sums, const int vectors) {
    if (group->count <= WIDE_ROWS && !group->pairs) {
        wide_rows(depth, group, panel, sums, vectors);
        return;
    }
    for (int64_t j = 0; j < vectors * LANES; j += TILE_COLUMNS) {
        const GemmTile tile = {.rows = group->count,
                               .columns = TILE_COLUMNS,
                               .k = depth,
                               .pairs = group->pairs,
                               .a = group->packed,
                               .a_row = 1,
                               .a_step = TILE_PITCH,
                               .b = panel + j,
                               .b_step = vectors * LANES,
                               .c = sums + j,
                               .c_row = PANEL};
        ISA(gemm_tile)(&tile);
    }
}

/* to[lane][i] = row[i] lane for as many lanes as there are, `pitch` apart, or to[pair of lanes].
 * What stands in rows that a group lacks is never used. */
static inline void pack_block(vfloat row[LANES], int64_t lanes, float *to, int64_t pitch,
                              bool pairs) {
    v_transpose(row);
    if (lanes >= LANES)
        store_steps(row, LANES, to, pitch, pairs);
    else
        store_steps(row, lanes, to, pitch, pairs);
}

#endif
