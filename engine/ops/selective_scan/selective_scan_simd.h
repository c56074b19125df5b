/* What the forward and backward kernels of the selective scan share. */
#ifndef LONGHAUL_OPS_SELECTIVE_SCAN_SIMD_H
#define LONGHAUL_OPS_SELECTIVE_SCAN_SIMD_H

#include "engine/ops/selective_scan/selective_scan_plan.h"
#include "engine/simd.h"
#include "engine/transpose_simd.h"
#include "engine/vmath.h"

#define INLINE static inline __attribute__((always_inline))

enum { BLOCKS = SCAN_CHANNELS / LANES }; /* of a unit */

static inline int64_t smaller(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* Channels e .. e+LANES-1 of rows (E, N) as a block [n][lane]; zero beyond E or without rows. */
static inline void block_from_rows(const float *rows, const Plan *plan, int64_t e, float *block) {
    for (int64_t lane = 0; lane < LANES; lane++)
        for (int64_t n = 0; n < plan->N; n++)
            block[n * LANES + lane] =
                rows && e + lane < plan->E ? rows[(e + lane) * plan->N + n] : 0;
}

static inline void block_to_rows(const float *block, const Plan *plan, int64_t e, float *rows,
                                 bool add) {
    for (int64_t lane = 0; lane < smaller(LANES, plan->E - e); lane++)
        for (int64_t n = 0; n < plan->N; n++) {
            float *to = rows + (e + lane) * plan->N + n;
            *to = add ? *to + block[n * LANES + lane] : block[n * LANES + lane];
        }
}

/* All blocks of A log2(e) = -exp(A_log) log2(e), so that exp(delta A) is a power of two. */
static inline void pack_decay(const OpCall *call, const Plan *plan, float *packed) {
    for (int64_t e = 0; e < plan->E; e += LANES) {
        float *block = packed + e * plan->N;
        block_from_rows(call->in[SCAN_A_LOG]->data, plan, e, block);
        for (int64_t i = 0; i < plan->N * LANES; i += LANES)
            v_store(block + i, v_exp(v_load(block + i)) * -1.44269504f);
    }
}

/* Where the notes hold the state of channels from e on before a chunk. */
static inline float *saved_state(const OpCall *call, const Plan *plan, int64_t b, int64_t chunk,
                                 int64_t e) {
    return call->saved[SCAN_SAVED_STATES]->data + (b * plan->chunks + chunk) * plan->state +
           e * plan->N;
}

#endif
