/* The matrix product C = S + A B of row-major float matrices, for kernel files: each calls the one
 * of its own instruction set, ISA(gemm)(...). With PRODUCTS_BF16 the numbers of A and B are rounded
 * on their way (engine/bf16_simd.h); the sums are float32, and every instruction set gives the same
 * bits but one: tile registers add in an order of their own (engine/gemm_amx.h). PRODUCTS_TF32 is
 * for GPUs alone.
 *
 * On one processor an element of C is the sum over k in one fixed order (ascending), whatever
 * the place of the element, the packing and the number of threads: threads own rectangles of C and
 * never share a sum. So rows of a product do not depend on which other rows are computed with them.
 */
#ifndef LONGHAUL_GEMM_H
#define LONGHAUL_GEMM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/op.h"

/* How A and B lie in memory; lda and ldb are the distances between their stored rows. */
typedef enum GemmLayout {
    GEMM_NN, /* A (m, k), B (k, n): x W */
    GEMM_NT, /* A (m, k), B (n, k): dy W^T, q k^T */
    GEMM_TN  /* A (k, m), B (k, n): x^T dy */
} GemmLayout;

enum {
    GEMM_DEPTH = 256,  /* k of one block: a panel of B stays in the first-level cache */
    GEMM_COLUMNS = 512 /* columns of one block: B (256 x 512) stays in the second-level cache */
};

/* Called on the thread that finished c[row .. row+rows) x [column .. column+columns), some rows of
 * at most GEMM_COLUMNS columns, while they are in the second-level cache. Every element once. */
typedef struct GemmFinish {
    void (*apply)(void *context, int64_t row, int64_t rows, int64_t column, int64_t columns);
    void *context;
} GemmFinish;

/* Bytes of workspace (64-byte aligned) that a product needs; the same for every instruction set. */
size_t gemm_workspace(GemmLayout layout, int64_t m, int64_t n, int64_t k, int threads);

/* C = A B, or C += A B when accumulating; C (m, n). C must not overlap A or B. threads = 1 opens
 * no parallel region: the form to call from inside one, with a workspace of the thread's own. */
typedef void GemmFunction(GemmLayout layout, Products products, int64_t m, int64_t n, int64_t k,
                          const float *a, int64_t lda, const float *b, int64_t ldb, float *c,
                          int64_t ldc, bool accumulate, float *workspace, int threads);
extern GemmFunction gemm_portable, gemm_avx2, gemm_avx512;

/* C = S + A B, then finish (NULL: nothing). start is S with rows lds apart: NULL for zero; lds = 0
 * repeats one row (a bias); C itself accumulates. */
typedef void GemmFusedFunction(GemmLayout layout, Products products, int64_t m, int64_t n,
                               int64_t k, const float *a, int64_t lda, const float *b, int64_t ldb,
                               const float *start, int64_t lds, float *c, int64_t ldc,
                               const GemmFinish *finish, float *workspace, int threads);
extern GemmFusedFunction gemm_fused_portable, gemm_fused_avx2, gemm_fused_avx512;

#endif
