/* The product of bf16 pairs by the tile registers of AMX, for the kernels of 512-bit vectors. Four
 * tiles hold 32 x 32 sums, two hold 32 rows of A and two 32 columns of B, 16 pairs of k deep: four
 * products of 16 cycles for four loads of 8, so the products bound it. (Intel 64 and IA-32
 * Architectures Software Developer's Manual, volume 2, TDPBF16PS.)
 *
 * The order of the sum: of 32 numbers of k the earlier halves of the pairs are summed from zero
 * with one rounding each, and so are the later halves; their sum is added to what is there. That is
 * another order than that of bf16_simd.h, so processors with tiles give other last bits. */
#ifndef LONGHAUL_GEMM_AMX_H
#define LONGHAUL_GEMM_AMX_H

#include "engine/amx.h"
#include "engine/gemm_pack.h"

enum {
    AMX_EDGE = AMX_ROWS,      /* rows of a tile; columns of a tile of sums; pairs of k */
    AMX_BLOCK = 2 * AMX_EDGE, /* rows and columns of the block of sums */
    AMX_NUMBER = (int)sizeof(float),
    AMX_GROUP =
        4 * AMX_BLOCK /* rows of A that meet a panel of B while it is in the nearest cache */
};

_Static_assert((int)AMX_BLOCK == (int)TILE_COLUMNS, "panels of B serve both kinds of tile");

/* 32 x 32 sums. a: for each `depth` of 16 pairs two tiles of 16 rows, one after the other; b: 16
 * rows of 32 pairs for each; start NULL is zero; pitches in bytes. */
static inline void amx_sums(int64_t depth, const float *a, const float *b, const float *start,
                            int64_t start_pitch, float *c, int64_t c_pitch) {
    const int64_t b_pitch = AMX_BLOCK * sizeof(float), a_pitch = AMX_ROW_BYTES;
    if (start) {
        const char *low = (const char *)start + AMX_EDGE * start_pitch;
        AMX_LOAD(0, start, start_pitch);
        AMX_LOAD(1, start + AMX_EDGE, start_pitch);
        AMX_LOAD(2, low, start_pitch);
        AMX_LOAD(3, low + AMX_ROW_BYTES, start_pitch);
    } else {
        AMX_ZERO(0);
        AMX_ZERO(1);
        AMX_ZERO(2);
        AMX_ZERO(3);
    }
    for (int64_t d = 0; d < depth; d++, a += AMX_BLOCK * AMX_EDGE, b += AMX_EDGE * AMX_BLOCK) {
        AMX_LOAD(4, a, a_pitch);
        AMX_LOAD(6, b, b_pitch);
        AMX_MULTIPLY(0, 4, 6);
        AMX_LOAD(7, b + AMX_EDGE, b_pitch);
        AMX_MULTIPLY(1, 4, 7);
        AMX_LOAD(5, a + AMX_EDGE * AMX_EDGE, a_pitch);
        AMX_MULTIPLY(2, 5, 6);
        AMX_MULTIPLY(3, 5, 7);
    }
    char *low = (char *)c + AMX_EDGE * c_pitch;
    AMX_STORE(0, c, c_pitch);
    AMX_STORE(1, c + AMX_EDGE, c_pitch);
    AMX_STORE(2, low, c_pitch);
    AMX_STORE(3, low + AMX_ROW_BYTES, c_pitch);
}

/* rows x columns of a block at the edge of C through a whole one. */
static void amx_edge(int64_t rows, int64_t columns, int64_t depth, const float *a, const float *b,
                     const float *start, int64_t start_row, float *c, int64_t c_row) {
    float whole[AMX_BLOCK][AMX_BLOCK] __attribute__((aligned(64))) = {0};
    for (int64_t i = 0; i < rows && start; i++)
        memcpy(whole[i], start + i * start_row, (size_t)columns * sizeof(float));
    amx_sums(depth, a, b, start ? whole[0] : NULL, sizeof whole[0], whole[0], sizeof whole[0]);
    for (int64_t i = 0; i < rows; i++)
        memcpy(c + i * c_row, whole[i], (size_t)columns * sizeof(float));
}

/* The numbers at even and at odd places of what stands in a and then b. */
static inline vfloat v_even(vfloat a, vfloat b) {
    return __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
}
static inline vfloat v_odd(vfloat a, vfloat b) {
    return __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
}

/* to[i][pair] for up to 16 rows of A, at most 32 numbers of k each, which lie one after the other.
 */
static void amx_pack_rows(const float *from, int64_t lda, int64_t rows, int64_t count, float *to) {
    for (int64_t i = 0; i < rows; i++, from += lda, to += AMX_EDGE) {
        const vfloat a = v_load_part(from, count);
        const vfloat b = count > LANES ? v_load_part(from + LANES, count - LANES) : v_zero();
        v_store(to, v_pair(v_even(a, b), v_odd(a, b)));
    }
}

/* The same where the rows lie one after the other. */
static void amx_pack_turned(const float *from, int64_t lda, int64_t rows, int64_t count,
                            float *to) {
    vfloat block[LANES];
    for (int j = 0; j < AMX_EDGE; j++, from += 2 * lda)
        block[j] = v_pair(2 * j < count ? v_load_part(from, rows) : v_zero(),
                          2 * j + 1 < count ? v_load_part(from + lda, rows) : v_zero());
    v_transpose(block);
    for (int j = 0; j < AMX_EDGE; j++) v_store(to + j * AMX_EDGE, block[j]);
}

/* Rows [row, row + rows) of A, at most 32 of them, as amx_sums reads them: zero behind the last
 * number of k; what stands in rows behind the last one is never used. */
static void amx_pack_a(const Product *product, int64_t row, int64_t rows, int64_t k0, int64_t depth,
                       float *to) {
    const int64_t lda = product->lda;
    const bool turned = product->layout == GEMM_TN;
    for (int64_t k = 0; k < depth; k += 2 * AMX_EDGE)
        for (int64_t i = 0; i < AMX_BLOCK; i += AMX_EDGE, to += AMX_EDGE * AMX_EDGE) {
            const int64_t count = smaller(2 * AMX_EDGE, depth - k);
            const int64_t high = smaller(AMX_EDGE, rows - i);
            if (high <= 0) continue;
            if (turned)
                amx_pack_turned(product->a + (k0 + k) * lda + row + i, lda, high, count, to);
            else
                amx_pack_rows(product->a + (row + i) * lda + k0 + k, lda, high, count, to);
        }
}

/* Panels of B for these columns, filled up with zero to whole tiles. */
static void amx_pack_b(const Product *product, int64_t column, int64_t stop, int64_t k0,
                       int64_t depth, int64_t tiles, float *workspace) {
    const int64_t filled = steps_of(product, depth) * TILE_COLUMNS;
    const int64_t size = tiles * AMX_EDGE * TILE_COLUMNS;
    for (int64_t j = column; j < stop; j += TILE_COLUMNS, workspace += size) {
        pack_panel(product, k0, depth, j, workspace);
        memset(workspace + filled, 0, (size_t)(size - filled) * sizeof *workspace);
    }
}

static GemmBlock amx_block;
static void amx_block(const Product *product, int64_t row, int64_t end, int64_t column,
                      int64_t columns, int64_t k0, int64_t depth, float *workspace) {
    const int64_t tiles = (depth + 2 * AMX_EDGE - 1) / (2 * AMX_EDGE), steps = tiles * AMX_EDGE;
    const int64_t stop = column + columns, ldc = product->ldc;
    const float *start = k0 ? product->c : product->start;
    const int64_t lds = k0 ? ldc : product->lds;
    float group[AMX_GROUP * GEMM_DEPTH / 2] __attribute__((aligned(64)));
    amx_pack_b(product, column, stop, k0, depth, tiles, workspace);
    amx_open();
    for (int64_t i = row, behind; i < end; i = behind) {
        behind = smaller(end, i + AMX_GROUP);
        for (int64_t r = i; r < behind; r += AMX_BLOCK)
            amx_pack_a(product, r, smaller(AMX_BLOCK, behind - r), k0, depth,
                       group + (r - i) * steps);
        for (int64_t j = column; j < stop; j += AMX_BLOCK)
            for (int64_t r = i; r < behind; r += AMX_BLOCK) {
                const int64_t rows = smaller(AMX_BLOCK, behind - r);
                const int64_t wide = smaller(AMX_BLOCK, stop - j);
                const float *a = group + (r - i) * steps, *b = workspace + (j - column) * steps;
                const float *from = start ? start + r * lds + j : NULL;
                float *c = product->c + r * ldc + j;
                if (rows == AMX_BLOCK && wide == AMX_BLOCK)
                    amx_sums(tiles, a, b, from, lds * AMX_NUMBER, c, ldc * AMX_NUMBER);
                else
                    amx_edge(rows, wide, tiles, a, b, from, lds, c, ldc);
            }
        if (product->finish && k0 + depth == product->k)
            product->finish->apply(product->finish->context, i, behind - i, column, columns);
    }
    amx_close();
}

#endif
