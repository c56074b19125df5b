/* The innermost product: up to TILE_ROWS x TILE_COLUMNS elements of C held in registers while k
 * runs. Each step loads two vectors of B, broadcasts one number of A a row and does two fused
 * multiply-adds a row. With 512-bit registers that is 28 sums + 2 + 1 of the 32; with 16 registers
 * 12 sums + 2 + 1. Bound by the fused multiply-adds: 16 of 44 instructions are loads, half of what
 * the load ports take. */
#ifndef LONGHAUL_GEMM_TILE_H
#define LONGHAUL_GEMM_TILE_H

#include "engine/bf16_simd.h"

enum {
    TILE_ROWS = LANES == 16 ? 14 : 6,
    TILE_COLUMNS = 2 * LANES,
    TILE_PITCH = LANES == 16 ? 16 : 8, /* distance of the steps of a packed tile of A */
    TILE_STEPS = 4,                    /* of k in one turn of the loop */
    THIN_ROWS = LANES == 16 ? 3 : 1,   /* so few rows leave registers for a wider tile, */
    THIN_COLUMNS = 8 * LANES           /* without which they wait for each other's sums */
};

/* C[i][j] = S[i][j] + sum over k of A[i * a_row + k * a_step] B[k * b_step + j]. A is packed where
 * a_row is 1 and a_step TILE_PITCH. With pairs a step of k is a pair of them (bf16_simd.h), and A
 * and B are packed. */
typedef struct GemmTile {
    int64_t rows, columns, k;
    bool pairs;
    const float *a;
    int64_t a_row, a_step;
    const float *b; /* TILE_COLUMNS (or LANES when columns <= LANES) readable numbers a step */
    int64_t b_step;
    const float *start; /* NULL: zero */
    int64_t start_row;
    float *c;
    int64_t c_row;
} GemmTile;

/* Packs the first `count` of a block's vectors, steps of k `pitch` apart, or their pairs, zero for
 * what lacks its second. count, where possible, is a constant of the caller. */
ALWAYS_INLINE void store_steps(const vfloat block[LANES], int64_t count, float *to, int64_t pitch,
                               bool pairs) {
    if (pairs)
#pragma GCC unroll 8
        for (int j = 0; j < count; j += 2)
            v_store(to + j / 2 * pitch, v_pair(block[j], j + 1 < count ? block[j + 1] : v_zero()));
    else
#pragma GCC unroll 16
        for (int j = 0; j < count; j++) v_store(to + j * pitch, block[j]);
}

/* Sums over k with A where it lies. Rows of A are addressed in threes from one pointer, which is
 * what the address modes and registers allow. */
static inline __attribute__((always_inline)) void
sum_rows(const GemmTile *tile, vfloat sum[TILE_ROWS][2], const int rows, const int vectors) {
    const int64_t a_row = tile->a_row, a_step = tile->a_step, b_step = tile->b_step;
    const float *b = tile->b, *a[(TILE_ROWS + 2) / 3];
#pragma GCC unroll 16
    for (int i = 0; i < rows; i += 3) a[i / 3] = tile->a + i * a_row;
    for (int64_t k = tile->k; k > 0; k--) {
        const vfloat b0 = v_load(b), b1 = vectors > 1 ? v_load(b + LANES) : v_zero();
        b += b_step;
#pragma GCC unroll 16
        for (int i = 0; i < rows; i++) {
            const vfloat x = v_set(a[i / 3][i % 3 * a_row]);
            sum[i][0] += x * b0;
            if (vectors > 1) sum[i][1] += x * b1;
            if (i % 3 == 2 || i == rows - 1) a[i / 3] += a_step;
        }
    }
}

static inline __attribute__((always_inline)) void add_step(vfloat sum[TILE_ROWS][2], const float *a,
                                                           const float *b, const int rows,
                                                           const int vectors) {
    const vfloat b0 = v_load(b), b1 = vectors > 1 ? v_load(b + LANES) : v_zero();
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++) {
        const vfloat x = v_set(a[i]);
        sum[i][0] += x * b0;
        if (vectors > 1) sum[i][1] += x * b1;
    }
}

/* The same with A packed: one pointer and constant distances, several steps of k a turn. */
static inline __attribute__((always_inline)) void
sum_packed(const GemmTile *tile, vfloat sum[TILE_ROWS][2], const int rows, const int vectors) {
    const int64_t b_step = tile->b_step;
    const float *a = tile->a, *b = tile->b;
    int64_t k = tile->k;
    for (; k >= TILE_STEPS; k -= TILE_STEPS, a += TILE_STEPS * TILE_PITCH)
#pragma GCC unroll 16
        for (int step = 0; step < TILE_STEPS; step++, b += b_step)
            add_step(sum, a + step * TILE_PITCH, b, rows, vectors);
    for (; k > 0; k--, a += TILE_PITCH, b += b_step) add_step(sum, a, b, rows, vectors);
}

static inline __attribute__((always_inline)) void sum_pairs(const GemmTile *tile,
                                                            vfloat sum[TILE_ROWS][2],
                                                            const int rows, const int vectors,
                                                            const bool instruction) {
    const float *a = tile->a, *b = tile->b;
    for (int64_t k = tile->k; k > 0; k--, a += TILE_PITCH, b += tile->b_step) {
        const vfloat b0 = v_load(b), b1 = vectors > 1 ? v_load(b + LANES) : v_zero();
#pragma GCC unroll 16
        for (int i = 0; i < rows; i++) {
            const vfloat x = v_set_bits(a + i);
            sum[i][0] = v_add_pairs(sum[i][0], x, b0, instruction);
            if (vectors > 1) sum[i][1] = v_add_pairs(sum[i][1], x, b1, instruction);
        }
    }
}

/* rows and vectors are constants of the caller, so that the sums live in registers. The unrolling
 * is asked for because gcc keeps sums in memory when it unrolls later by itself. */
static inline __attribute__((always_inline)) void tile_of(const GemmTile *tile, const int rows,
                                                          const int vectors) {
    vfloat sum[TILE_ROWS][2];
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++) sum[i][0] = sum[i][1] = v_zero();
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < vectors * LANES; j += 16)
            __builtin_prefetch(tile->c + i * tile->c_row + j, 1);
    if (tile->pairs && has_pair_product())
        sum_pairs(tile, sum, rows, vectors, true);
    else if (tile->pairs)
        sum_pairs(tile, sum, rows, vectors, false);
    else if (tile->a_step == TILE_PITCH && tile->a_row == 1)
        sum_packed(tile, sum, rows, vectors);
    else
        sum_rows(tile, sum, rows, vectors);
    const int64_t columns = tile->columns, last = vectors - 1;
    const float *start = tile->start;
    float *c = tile->c;
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++) {
        if (start) {
            if (vectors > 1) sum[i][0] += v_load(start);
            sum[i][last] += v_load_part(start + last * LANES, columns - last * LANES);
            start += tile->start_row;
        }
        if (vectors > 1) v_store(c, sum[i][0]);
        v_store_part(c + last * LANES, sum[i][last], columns - last * LANES);
        c += tile->c_row;
    }
}

/* The same for THIN_COLUMNS columns. */
static inline __attribute__((always_inline)) void thin_of(const GemmTile *tile, const int rows) {
    enum { VECTORS = THIN_COLUMNS / LANES };
    const float *a = tile->a, *b = tile->b;
    vfloat sum[THIN_ROWS][VECTORS] = {0};
    for (int64_t k = tile->k; k > 0; k--) {
        vfloat x[THIN_ROWS];
#pragma GCC unroll 16
        for (int i = 0; i < rows; i++) x[i] = v_set(a[i * tile->a_row]);
#pragma GCC unroll 16
        for (int j = 0; j < VECTORS; j++) {
            const vfloat y = v_load(b + j * LANES);
#pragma GCC unroll 16
            for (int i = 0; i < rows; i++) sum[i][j] += x[i] * y;
        }
        a += tile->a_step;
        b += tile->b_step;
    }
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 16
        for (int j = 0; j < VECTORS; j++) {
            if (tile->start) sum[i][j] += v_load(tile->start + i * tile->start_row + j * LANES);
            v_store(tile->c + i * tile->c_row + j * LANES, sum[i][j]);
        }
}

static inline __attribute__((always_inline)) void tile_rows(const GemmTile *tile,
                                                            const int vectors) {
    switch (tile->rows) {
    case 1:
        tile_of(tile, 1, vectors);
        break;
    case 2:
        tile_of(tile, 2, vectors);
        break;
    case 3:
        tile_of(tile, 3, vectors);
        break;
    case 4:
        tile_of(tile, 4, vectors);
        break;
    case 5:
        tile_of(tile, 5, vectors);
        break;
    case 6:
        tile_of(tile, 6, vectors);
        break;
#if LANES == 16
    case 7:
        tile_of(tile, 7, vectors);
        break;
    case 8:
        tile_of(tile, 8, vectors);
        break;
    case 9:
        tile_of(tile, 9, vectors);
        break;
    case 10:
        tile_of(tile, 10, vectors);
        break;
    case 11:
        tile_of(tile, 11, vectors);
        break;
    case 12:
        tile_of(tile, 12, vectors);
        break;
    case 13:
        tile_of(tile, 13, vectors);
        break;
    case 14:
        tile_of(tile, 14, vectors);
        break;
#endif
    default:
        break;
    }
}

static void thin_rows(const GemmTile *tile) {
    switch (tile->rows) {
    case 1:
        thin_of(tile, 1);
        break;
#if LANES == 16
    case 2:
        thin_of(tile, 2);
        break;
    case 3:
        thin_of(tile, 3);
        break;
#endif
    default:
        break;
    }
}

/* 1 <= rows <= TILE_ROWS, 1 <= columns <= TILE_COLUMNS; or at most THIN_ROWS and THIN_COLUMNS. */
static __attribute__((noinline)) void gemm_tile(const GemmTile *tile) {
    if (tile->columns == THIN_COLUMNS)
        thin_rows(tile);
    else if (tile->columns > LANES)
        tile_rows(tile, 2);
    else
        tile_rows(tile, 1);
}

#endif
