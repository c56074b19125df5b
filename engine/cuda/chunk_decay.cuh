/* Decays of recurrences S_t = exp(log_decay_t) S_{t-1} + .. that are computed in chunks of TILE
 * tokens: as engine/chunk_decay_simd.h. */
#ifndef LONGHAUL_CUDA_CHUNK_DECAY_H
#define LONGHAUL_CUDA_CHUNK_DECAY_H

#include "engine/cuda/tile_product.cuh"

/* b of every chunk, the sum of log_decay (B, L, H), or (H) where it is constant, from the chunk's
 * first token on, in two parts, to sums (B, H, chunks, 2, TILE). */
static inline void sum_chunk_decays(const Run *run, int64_t B, int64_t L, int64_t H,
                                    const float *log_decay, bool constant, float *sums) {
    const int64_t chunks = (L + TILE - 1) / TILE;
    for_each(run, B * H * chunks, [=] __device__(int64_t n) {
        const int64_t head = n / chunks, token = n % chunks * TILE;
        const int64_t first = constant ? 0 : (head / H * L + token) * H;
        const float *const from = log_decay + first + head % H;
        double sum = 0;
        for (int64_t i = 0; i < TILE; i++) {
            if (token + i < L) sum += (double)from[constant ? 0 : i * H];
            sums[n * 2 * TILE + i] = (float)sum;
            sums[n * 2 * TILE + TILE + i] = (float)(sum - (double)(float)sum);
        }
    });
}

/* Decays between tokens of a chunk, and to its beginning and end. */
struct ChunkDecays {
    const float *sums; /* shared: [2][TILE]; NULL: none */
    __device__ float between(int earlier, int later) const {
        if (!sums) return 1;
        return expf(
            fminf(0, (sums[later] - sums[earlier]) + (sums[TILE + later] - sums[TILE + earlier])));
    }
    __device__ float since(int i) const {
        return sums ? expf(sums[i]) : 1;
    }
    __device__ float before(int i) const {
        return between(i, TILE - 1);
    }
};
/* The whole block loads them; a barrier must follow. space: shared, 2 TILE numbers. */
__device__ static inline ChunkDecays load_chunk_decays(const float *sums, int64_t chunk,
                                                       float *space) {
    if (!sums) return {NULL};
    for (unsigned i = threadIdx.x; i < 2 * TILE; i += THREADS)
        space[i] = sums[chunk * 2 * TILE + i];
    return {space};
}

/* S . dS at the end of every chunk: a block each. state: of the last one, or NULL. */
constexpr int END_THREADS = 256;
KERNEL void __launch_bounds__(END_THREADS)
    multiply_ends(const float *states, const float *dstates, const float *last, int64_t chunks,
                  int64_t size, float *to) {
    __shared__ float space[WARP];
    const int64_t n = blockIdx.x, head = n / chunks;
    const bool ends = n % chunks == chunks - 1;
    const float *const state = ends ? last + head * size : states + (n + 1) * size;
    float sum = 0;
    for (int64_t i = threadIdx.x; (!ends || last) && i < size; i += END_THREADS)
        sum += state[i] * dstates[n * size + i];
    sum = block_sum(sum, space);
    if (threadIdx.x == 0) to[n] = sum;
}
/* states (heads, chunks, size): before each chunk; dstates likewise: behind it; last (heads, size):
 * behind the last one, or NULL where dS is zero there. -> (heads, chunks) */
static inline void end_products(const Run *run, const float *states, const float *dstates,
                                const float *last, int64_t heads, int64_t chunks, int64_t size,
                                float *to) {
    LAUNCH(run, multiply_ends, (unsigned)(heads * chunks), END_THREADS, 0, states, dstates, last,
           chunks, size, to);
}

#endif
