/* The innermost product: up to TILE_ROWS x TILE_COLUMNS elements of C held in registers while k
 * runs. Each step loads two vectors of B, broadcasts one number of A a row and does two fused
 * multiply-adds a row. With 512-bit registers that is 28 sums + 2 + 1 of the 32; with 16 registers
 * 12 sums + 2 + 1. Bound by the fused multiply-adds: 16 of 44 instructions are loads, half of what
 * the load ports take. */
#ifndef LONGHAUL_GEMM_TILE_H
#define LONGHAUL_GEMM_TILE_H

#include "engine/bf16_simd.h"
#include "engine/op.h"

enum {
    TILE_ROWS = LANES == 16 ? 14 : 6,
    TILE_COLUMNS = 2 * LANES,
    TILE_PITCH = LANES == 16 ? 16 : 8, /* distance of the steps of a packed tile of A */
    TILE_STEPS =
        LANES == 16 ? 2 : 4,         /* of k in one turn of the loop; of 14 rows four are slower, */
    ROW_STEPS = LANES == 16 ? 2 : 1, /* and with A in rows of 6 more than one */
    THIN_ROWS = LANES == 16 ? 3 : 1, /* so few rows leave registers for a wider tile, */
    THIN_COLUMNS = 8 * LANES         /* without which they wait for each other's sums */
};

/* Memory that a later tile reads: 32 floats (two lines) at `at`, and as many at each of the places
 * that follow `step` floats apart. count 0: nothing. */
typedef struct GemmAhead {
    const float *at;
    int64_t step, count;
} GemmAhead;

/* C[i][j] = S[i][j] + sum over k of A[i * a_row + k * a_step] B[k * b_step + j]. A lies in rows
 * (a_step 1) or beside one another (a_row 1), packed where a_step is TILE_PITCH. With pairs a step
 * of k is a pair of them (bf16_simd.h), and A and B are packed. */
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
    GemmAhead ahead; /* fetched meanwhile, as far as the product has turns (tile_turns) */
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

/* Turns of a tile's loop in which it fetches what it is asked to, after the rows of its own C. */
static inline int64_t tile_turns(int64_t rows, int64_t k) {
    return k / TILE_STEPS - rows;
}

/* 1 <= rows <= TILE_ROWS, 1 <= columns <= TILE_COLUMNS; or at most THIN_ROWS and THIN_COLUMNS. */
void ISA(gemm_tile)(const GemmTile *tile);

#endif
