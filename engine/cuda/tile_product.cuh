/* Products of a block of four warps whose result, TILE x TILE sums, stays in registers. Operands
 * come through shared memory in slabs of SLAB terms, made element by element and rounded on the
 * way, by one of the kinds of products of matrix.cuh, M. */
#ifndef LONGHAUL_CUDA_TILE_PRODUCT_H
#define LONGHAUL_CUDA_TILE_PRODUCT_H

#include "engine/cuda/matrix.cuh"

constexpr int TILE = 64; /* rows and columns of a block's results */
constexpr int SLAB = 32;
constexpr int STRIP = 16; /* rows of a warp */
constexpr int THREADS = TILE / STRIP * WARP;
constexpr int GROUP = 4; /* numbers of a slab that a thread stores at a time */

/* tile[r][c] = of(r, c) for TILE rows and W columns by the whole block. DOWN: neighbouring threads
 * have neighbouring rows, for an `of` whose memory runs along them. */
template <class M, int W, bool DOWN, class Of>
__device__ __forceinline__ void fill(const SharedTile<typename M::Element, W> &tile, Of of) {
    constexpr int ACROSS = W / GROUP;
    static_assert(TILE * ACROSS % THREADS == 0, "every thread stores as many groups");
#pragma unroll
    for (int n = 0; n < TILE * ACROSS / THREADS; n++) {
        const int i = n * THREADS + (int)threadIdx.x;
        const int r = DOWN ? i % TILE : i / ACROSS, c = (DOWN ? i / TILE : i % ACROSS) * GROUP;
        Lanes<GROUP> four;
#pragma unroll
        for (int k = 0; k < GROUP; k++) four.of[k] = of(r, c + k);
        M::store(tile.at((unsigned)r, (unsigned)c), four);
    }
}

/* c += A B^T of a slab: the warp's strip of A, columns from `column` on, by all rows of B. */
template <class M, int W>
__device__ __forceinline__ void
multiply_slab(float (&c)[TILE / 8][4], const SharedTile<typename M::Element, W> &a_tile,
              const SharedTile<typename M::Element, SLAB> &b_tile, unsigned column = 0) {
    const unsigned strip = threadIdx.x / WARP * STRIP;
#pragma unroll
    for (int s = 0; s < SLAB / M::DEPTH; s++) {
        typename M::A a;
        M::load_a(a, a_tile, strip, column + s * M::DEPTH);
#pragma unroll
        for (int n = 0; n < TILE / 16; n++) {
            typename M::B b;
            M::load_b_rows(b, b_tile, n * 16, s * M::DEPTH);
            M::multiply(c[2 * n], c[2 * n + 1], a, b);
        }
    }
}

/* Calls body(i, j, c) for every result of the lane: row i and column j of the tile. */
template <class Body>
__device__ __forceinline__ void each_result(float (&c)[TILE / 8][4], Body body) {
    const int strip = (int)threadIdx.x / WARP * STRIP + (int)lane_row();
#pragma unroll
    for (int t = 0; t < TILE / 8; t++)
#pragma unroll
        for (int e = 0; e < 4; e++)
            body(strip + e / 2 * 8, t * 8 + (int)lane_column() + e % 2, c[t][e]);
}

#endif
