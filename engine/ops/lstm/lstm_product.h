/* The small products inside the time loops of the LSTM: a few rows times a matrix that is packed
 * once per call into panels, so that every step reads it as one stream from the second-level cache.
 *
 * A tile is up to PRODUCT_ROWS rows by four vectors: 24 sums, 4 vectors of the panel and one
 * broadcast fit 32 registers and need 10 loads for 24 multiply-adds. Each sum runs over k in
 * ascending order on its own, so a row's bits do not depend on the rows beside it. */
#ifndef LONGHAUL_OPS_LSTM_PRODUCT_H
#define LONGHAUL_OPS_LSTM_PRODUCT_H

#include "engine/simd.h"

enum { PRODUCT_ROWS = LANES == 16 ? 6 : 2, PRODUCT_VECTORS = 4 };

typedef vfloat ProductSums[PRODUCT_ROWS][PRODUCT_VECTORS];

/* sums[i][v] = sum over k of a[i * row + k] panel[(k * vectors + v) * LANES ..]. */
static inline __attribute__((always_inline)) void product_of(int64_t depth, const float *a,
                                                             int64_t row, const float *panel,
                                                             ProductSums sums, const int rows,
                                                             const int vectors) {
    vfloat sum[PRODUCT_ROWS][PRODUCT_VECTORS];
    for (int i = 0; i < rows; i++)
        for (int v = 0; v < vectors; v++) sum[i][v] = v_zero();
    for (int64_t k = 0; k < depth; k++, panel += vectors * LANES) {
        vfloat b[PRODUCT_VECTORS];
        for (int v = 0; v < vectors; v++) b[v] = v_load(panel + v * LANES);
        for (int i = 0; i < rows; i++) {
            const vfloat x = v_set(a[i * row + k]);
            for (int v = 0; v < vectors; v++) sum[i][v] += x * b[v];
        }
    }
    for (int i = 0; i < rows; i++)
        for (int v = 0; v < vectors; v++) sums[i][v] = sum[i][v];
}

/* 1 <= rows <= PRODUCT_ROWS; vectors is a constant of the caller. */
static inline __attribute__((always_inline)) void product(int64_t depth, const float *a,
                                                          int64_t row, const float *panel,
                                                          ProductSums sums, int rows,
                                                          const int vectors) {
    switch (rows) {
    case 1:
        product_of(depth, a, row, panel, sums, 1, vectors);
        break;
    case 2:
        product_of(depth, a, row, panel, sums, 2, vectors);
        break;
#if LANES == 16
    case 3:
        product_of(depth, a, row, panel, sums, 3, vectors);
        break;
    case 4:
        product_of(depth, a, row, panel, sums, 4, vectors);
        break;
    case 5:
        product_of(depth, a, row, panel, sums, 5, vectors);
        break;
    case 6:
        product_of(depth, a, row, panel, sums, 6, vectors);
        break;
#endif
    default:
        break;
    }
}

#endif
