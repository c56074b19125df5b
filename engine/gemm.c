#include "engine/gemm.h"

size_t gemm_workspace(GemmLayout layout, int64_t m, int64_t n, int64_t k, int threads) {
    (void)layout;
    (void)m;
    const int64_t widest = 32; /* columns of the widest tile: panels are padded to it */
    const int64_t padded = (n + widest - 1) / widest * widest;
    const int64_t columns = padded < GEMM_COLUMNS ? padded : GEMM_COLUMNS;
    /* Numbers in bf16 take half of that, but tiles of them are 32 deep (gemm_amx.h). */
    const int64_t depth = k < 16 ? 16 : k < GEMM_DEPTH ? k : GEMM_DEPTH;
    return (size_t)(columns * depth) * sizeof(float) * (size_t)threads;
}
