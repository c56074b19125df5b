#include "engine/gemm.h"

size_t gemm_workspace(GemmLayout layout, int64_t m, int64_t n, int64_t k, int threads) {
    (void)layout;
    (void)m;
    const int64_t widest = 32; /* columns of the widest tile: panels are padded to it */
    const int64_t padded = (n + widest - 1) / widest * widest;
    const int64_t columns = padded < GEMM_COLUMNS ? padded : GEMM_COLUMNS;
    const int64_t depth = k < GEMM_DEPTH ? k : GEMM_DEPTH;
    return (size_t)(columns * depth) * sizeof(float) * (size_t)threads;
}
