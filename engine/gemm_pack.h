/* What kernels of the matrix product share: what is multiplied, and copies of its parts in the
 * order in which they are read. */
#ifndef LONGHAUL_GEMM_PACK_H
#define LONGHAUL_GEMM_PACK_H

#include "engine/gemm.h"
#include "engine/gemm_tile.h"
#include "engine/transpose_simd.h"

typedef struct Product Product;

/* Rows [row, end) x columns [column, column + columns), one block of k. */
typedef void GemmBlock(const Product *product, int64_t row, int64_t end, int64_t column,
                       int64_t columns, int64_t k0, int64_t depth, float *workspace);

struct Product {
    GemmLayout layout;
    bool pairs; /* as in GemmTile */
    int64_t m, n, k;
    const float *a, *b, *start;
    int64_t lda, ldb, lds;
    float *c;
    int64_t ldc;
    const GemmFinish *finish;
    GemmBlock *block;
};

static inline int64_t smaller(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* to[i * pitch + j] = from[j * ld + i] for i < count, j < rows, or pairs of i; what stands at
 * rows <= j < LANES is never used. pitch >= LANES. */
static void transpose_strip(int64_t rows, int64_t count, const float *from, int64_t ld, float *to,
                            int64_t pitch, bool pairs) {
    const float *row[LANES];
    vfloat block[LANES];
    for (int j = 0; j < LANES; j++) row[j] = from + smaller(j, rows - 1) * ld;
    int64_t i = 0;
    for (; i + LANES <= count; i += LANES, to += (pairs ? LANES / 2 : LANES) * pitch) {
#pragma GCC unroll 16
        for (int j = 0; j < LANES; j++) block[j] = v_load(row[j] + i);
        v_transpose(block);
        store_steps(block, LANES, to, pitch, pairs);
    }
    if (i == count) return;
    for (int j = 0; j < LANES; j++) block[j] = v_load_part(row[j] + i, count - i);
    v_transpose(block);
    store_steps(block, count - i, to, pitch, pairs);
}

/* to[k / 2 * pitch + j] = the pair of from[k * ld + j] and from[(k + 1) * ld + j]. */
static void pair_strip(int64_t columns, int64_t count, const float *from, int64_t ld, float *to,
                       int64_t pitch) {
    for (int64_t k = 0; k < count; k += 2, from += 2 * ld, to += pitch)
        for (int64_t j = 0; j < columns; j += LANES) {
            const vfloat later = k + 1 < count ? v_load_part(from + ld + j, columns - j) : v_zero();
            v_store(to + j, v_pair(v_load_part(from + j, columns - j), later));
        }
}

/* to[k * pitch + j] = from[k * ld + j] for k < count, j < columns, or pairs of k; what stands
 * behind is never used. columns <= pitch; pitch, a constant of the caller, is one or two vectors.
 */
static inline __attribute__((always_inline)) void copy_strip(int64_t columns, int64_t count,
                                                             const float *from, int64_t ld,
                                                             float *to, const int64_t pitch,
                                                             bool pairs) {
    if (pairs)
        pair_strip(columns, count, from, ld, to, pitch);
    else if (columns == pitch)
        for (int64_t k = 0; k < count; k++, from += ld, to += pitch)
            for (int64_t j = 0; j < pitch; j += LANES) v_store(to + j, v_load(from + j));
    else
        for (int64_t k = 0; k < count; k++, from += ld, to += pitch)
            for (int64_t j = 0; j < columns; j += LANES)
                v_store(to + j, v_load_part(from + j, columns - j));
}

/* Steps of k in a block that is so deep. */
static inline int64_t steps_of(const Product *product, int64_t depth) {
    return product->pairs ? (depth + 1) / 2 : depth;
}

/* One panel: packed[step of k][TILE_COLUMNS] from columns [column, column + TILE_COLUMNS). */
static void pack_panel(const Product *product, int64_t k0, int64_t depth, int64_t column,
                       float *packed) {
    const int64_t left = smaller(TILE_COLUMNS, product->n - column);
    if (product->layout != GEMM_NT) {
        copy_strip(left, depth, product->b + k0 * product->ldb + column, product->ldb, packed,
                   TILE_COLUMNS, product->pairs);
        return;
    }
    for (int64_t j = 0; j < left; j += LANES)
        transpose_strip(smaller(LANES, left - j), depth,
                        product->b + (column + j) * product->ldb + k0, product->ldb, packed + j,
                        TILE_COLUMNS, product->pairs);
}

#endif
