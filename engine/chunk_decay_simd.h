/* Decays of a recurrence S_t = exp(log_decay_t) S_{t-1} + .. between the tokens of a chunk and to
 * its beginning and end, for operations that compute it in chunks. */
#ifndef LONGHAUL_CHUNK_DECAY_SIMD_H
#define LONGHAUL_CHUNK_DECAY_SIMD_H

#include "engine/triangle_simd.h"
#include "engine/vmath.h"

/* b, the sum of log_decay from the chunk's first token on, comes in two parts, the second what
 * rounding the first has lost: differences of large sums count. */
typedef struct ChunkDecays {
    float decay[CHUNK]; /* exp(log_decay) */
    float sum[CHUNK], rest[CHUNK];
    float since[CHUNK];  /* exp(b) */
    float before[CHUNK]; /* exp(b_C - b) */
} ChunkDecays;

/* log_decay of tokens that are `step` numbers apart, at most 0; those behind the last of `rows`
 * tokens are without. */
static inline void chunk_decays(ChunkDecays *c, const float *log_decay, int64_t step,
                                int64_t rows) {
    double sum = 0;
    for (int64_t i = 0; i < CHUNK; i++) {
        c->decay[i] = i < rows ? log_decay[i * step] : 0;
        sum += (double)c->decay[i];
        c->sum[i] = (float)sum;
        c->rest[i] = (float)(sum - (double)c->sum[i]);
    }
    const float whole = c->sum[CHUNK - 1], rest = c->rest[CHUNK - 1];
    for (int64_t i = 0; i < CHUNK; i += LANES) {
        const vfloat b = v_load(c->sum + i), more = v_load(c->rest + i);
        v_store(c->decay + i, v_exp(v_load(c->decay + i)));
        v_store(c->since + i, v_exp(b));
        v_store(c->before + i, v_exp((whole - b) + (rest - more)));
    }
}

/* exp(b_i - b_j) for LANES tokens from j on, one for those behind i. */
ALWAYS_INLINE vfloat v_chunk_decays(const ChunkDecays *c, int64_t i, int64_t j) {
    const vfloat apart = c->sum[i] - v_load(c->sum + j), more = c->rest[i] - v_load(c->rest + j);
    return v_exp(v_min(v_zero(), apart + more));
}

#endif
