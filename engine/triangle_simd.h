/* Matrix products on a chunk of tokens for operations that compute linear recurrences in chunks:
 * inside one, tokens meet earlier ones through a lower triangle of weights P (CHUNK, CHUNK). Rows
 * before HALF are multiplied as far as HALF only, three quarters of the square. */
#ifndef LONGHAUL_TRIANGLE_SIMD_H
#define LONGHAUL_TRIANGLE_SIMD_H

#include <string.h>

#include "engine/gemm.h"
#include "engine/simd.h"

enum { CHUNK = 64, HALF = CHUNK / 2 };

/* What products of one thread need. */
typedef struct Multiplier {
    Products products;
    float *workspace; /* gemm_workspace */
} Multiplier;

static inline void multiply(const Multiplier *with, GemmLayout layout, int64_t m, int64_t n,
                            int64_t k, const float *a, int64_t lda, const float *b, int64_t ldb,
                            float *c, int64_t ldc, bool add) {
    if (k == 0 && add) return;
    ISA(gemm)(layout, with->products, m, n, k, a, lda, b, ldb, c, ldc, add, with->workspace, 1);
}

/* What a recurrence starts from: the floats of a tensor, or zero for NULL. */
static inline void begin_state(float *state, const float *from, int64_t floats) {
    if (from)
        memcpy(state, from, (size_t)floats * sizeof *state);
    else
        memset(state, 0, (size_t)floats * sizeof *state);
}

/* How many columns row i of a triangle of so many rows holds: what lies behind the diagonal there
 * takes part in products and must be zero. */
static inline int64_t triangle_end(int64_t i, int64_t rows) {
    return i < HALF && HALF < rows ? HALF : rows;
}

/* p (rows, rows) = a b^T for the lower triangle, or a square that holds it; width: of a and b. */
static inline void triangle(const Multiplier *with, int64_t rows, int64_t width, const float *a,
                            int64_t lda, const float *b, int64_t ldb, float *p) {
    const int64_t top = triangle_end(0, rows);
    multiply(with, GEMM_NT, top, top, width, a, lda, b, ldb, p, CHUNK, false);
    if (rows > HALF)
        multiply(with, GEMM_NT, rows - HALF, rows, width, a + HALF * lda, lda, b, ldb,
                 p + HALF * CHUNK, CHUNK, false);
}

/* c (rows, width) = P b, or += with `add`. */
static inline void triangle_sums(const Multiplier *with, int64_t rows, int64_t width,
                                 const float *p, const float *b, int64_t ldb, float *c, int64_t ldc,
                                 bool add) {
    const int64_t top = triangle_end(0, rows);
    multiply(with, GEMM_NN, top, width, top, p, CHUNK, b, ldb, c, ldc, add);
    if (rows > HALF)
        multiply(with, GEMM_NN, rows - HALF, width, rows, p + HALF * CHUNK, CHUNK, b, ldb,
                 c + HALF * ldc, ldc, add);
}

/* The same with P^T. */
static inline void triangle_turned(const Multiplier *with, int64_t rows, int64_t width,
                                   const float *p, const float *b, int64_t ldb, float *c,
                                   int64_t ldc, bool add) {
    multiply(with, GEMM_TN, triangle_end(0, rows), width, rows, p, CHUNK, b, ldb, c, ldc, add);
    if (rows > HALF)
        multiply(with, GEMM_TN, rows - HALF, width, rows - HALF, p + HALF * CHUNK + HALF, CHUNK,
                 b + HALF * ldb, ldb, c + HALF * ldc, ldc, add);
}

/* to[i] = from[i] factors[i] factor for rows of `width` numbers; to may be from. */
static inline void scale_rows(float *to, int64_t to_row, const float *from, int64_t from_row,
                              int64_t rows, int64_t width, const float *factors, float factor) {
    for (int64_t i = 0; i < rows; i++) {
        const vfloat f = v_set(factors[i] * factor);
        for (int64_t c = 0; c < width; c += LANES)
            v_store_part(to + i * to_row + c, v_load_part(from + i * from_row + c, width - c) * f,
                         width - c);
    }
}

static inline float dot(const float *a, const float *b, int64_t n) {
    vfloat sum = v_zero();
    for (int64_t c = 0; c < n; c += LANES)
        sum += v_load_part(a + c, n - c) * v_load_part(b + c, n - c);
    return v_sum(sum);
}

#endif
