/* Matrix products on the device, row-major floats, by cuBLASLt. */
#ifndef LONGHAUL_CUDA_PRODUCT_H
#define LONGHAUL_CUDA_PRODUCT_H

#include "engine/cuda/rounded.cuh"

/* C (m, n) = S + bias + A B; lda, ldb, ldc: floats from stored row to row. */
struct Product {
    bool transposed_a, transposed_b; /* stored as (k, m); stored as (n, k) */
    int64_t m, n, k;
    const float *a;
    int64_t lda;
    const float *b;
    int64_t ldb;
    const float *start; /* S, rows ldc apart; C itself accumulates; NULL: zero */
    const float *bias;  /* (n) or NULL */
    float *c;
    int64_t ldc;
    /* A and B as stored, in bfloat16; with both, the product reads these. A run with
     * PRODUCTS_BF16 rounds within the product where they are missing: the same inputs, at half the
     * rate. */
    Rounded rounded_a, rounded_b;
};

void product(const Run *run, const Product &product);

#endif
