/* Copies, scalings and additions of one row of n floats, for the operations that move rows. */
#ifndef LONGHAUL_ROWS_SIMD_H
#define LONGHAUL_ROWS_SIMD_H

#include "engine/gradient_simd.h"

static inline void row_scale(float *y, const float *x, float factor, int64_t n) {
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) v_store(y + i, v_load(x + i) * factor);
    if (i < n) v_store_part(y + i, v_load_part(x + i, n - i) * factor, n - i);
}

static inline void row_add_scaled(float *y, const float *x, float factor, int64_t n) {
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) v_store(y + i, v_load(y + i) + v_load(x + i) * factor);
    if (i < n)
        v_store_part(y + i, v_load_part(y + i, n - i) + v_load_part(x + i, n - i) * factor, n - i);
}

static inline void row_sum(float *y, const float *a, const float *b, int64_t n) {
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) v_store(y + i, v_load(a + i) + v_load(b + i));
    if (i < n) v_store_part(y + i, v_load_part(a + i, n - i) + v_load_part(b + i, n - i), n - i);
}

/* Zeroes n floats in fixed blocks. */
static inline void rows_zero(float *y, int64_t n, int threads) {
    enum { BLOCK = 1 << 16 };
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t i = 0; i < n; i += BLOCK)
        memset(y + i, 0, (size_t)(n - i < BLOCK ? n - i : BLOCK) * sizeof *y);
}

#endif
