/* How the CPU's kernels cut their work and what scratch that takes: from shapes alone. */
#ifndef LONGHAUL_CHUNK_ATTENTION_PLAN_H
#define LONGHAUL_CHUNK_ATTENTION_PLAN_H

#include "engine/gemm.h"
#include "engine/ops/chunk_attention/chunk_attention.h"

static inline int64_t whole_lines(int64_t floats) {
    return (floats + 15) / 16 * 16;
}

/* Queries whose scores one thread holds: a quarter of a megabyte of them, so that those of three
 * kinds stay in the second-level cache. */
static inline int64_t chunk_rows(const ChunkView *view) {
    const int64_t rows = (64 << 10) / view->size / 8 * 8, most = view->size < 64 ? view->size : 64;
    return rows > most ? most : rows < 16 ? 16 : rows;
}

/* Floats of the table of biases, which is also that of a unit's gradients of them; a vector may be
 * read beyond it. */
static inline int64_t chunk_bias_floats(const ChunkView *view) {
    return whole_lines(chunk_distances(view) + 16);
}

static inline int64_t chunk_score_floats(const ChunkView *view) {
    return whole_lines(chunk_rows(view) * view->size);
}

/* Of the products of one thread. */
static inline int64_t chunk_workspace_floats(const ChunkView *view, Phase phase) {
    const int64_t rows = chunk_rows(view), n = view->size, Z = view->Z, H = view->H;
    const size_t bytes[] = {
        gemm_workspace(GEMM_NT, rows, n, Z, 1), gemm_workspace(GEMM_NN, rows, H, n, 1),
        gemm_workspace(GEMM_NT, rows, n, H, 1), gemm_workspace(GEMM_TN, n, H, rows, 1),
        gemm_workspace(GEMM_NN, rows, Z, n, 1), gemm_workspace(GEMM_TN, n, Z, rows, 1)};
    size_t most = 0;
    for (int i = 0; i < (phase == PHASE_FORWARD ? 2 : 6); i++)
        if (bytes[i] > most) most = bytes[i];
    return whole_lines((int64_t)(most / sizeof(float)) + 1);
}

static inline int64_t chunk_thread_floats(const ChunkView *view, Phase phase) {
    return (phase == PHASE_FORWARD ? 1 : 3) * chunk_score_floats(view) +
           chunk_workspace_floats(view, phase);
}

#endif
