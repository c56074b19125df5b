/* Many small matrix products in one launch, of numbers that functors fetch and take: for operations
 * whose matrices do not lie in memory as such. Tiles in shared memory, sums in registers, k in
 * ascending order. */
#ifndef LONGHAUL_CUDA_TILED_H
#define LONGHAUL_CUDA_TILED_H

#include "engine/cuda/grid.cuh"

enum { TILED_SIDE = 16, TILED_DEPTH = 16, TILED_EACH = 4, TILED_THREADS = TILED_SIDE * TILED_SIDE };

/* A side of a tile: `COUNT` rows or columns by TILED_DEPTH of k; ALONG: neighbouring numbers in
 * memory are neighbours in k. */
template <int COUNT, bool ALONG, class T, class Fetch>
__device__ inline void tiled_fill(T tile[TILED_DEPTH][COUNT + 1], const Fetch &fetch, int first,
                                  int from, int end, int depth) {
    for (int n = (int)threadIdx.x; n < COUNT * TILED_DEPTH; n += TILED_THREADS) {
        const int at = ALONG ? n / TILED_DEPTH : n % COUNT, k = ALONG ? n % TILED_DEPTH : n / COUNT;
        const bool inside = first + at < end && from + k < depth;
        tile[k][at] = inside ? fetch(first + at, from + k) : T{};
    }
}

/* put(batch, m, n, sum over k < depth of a(batch, m, k) b(batch, n, k)); a, b: A::Number.
 * A::ALONG: its neighbours in memory are neighbours in k, else in m; B::ALONG likewise. */
template <int WIDE, class A, class B, class Put>
KERNEL void __launch_bounds__(TILED_THREADS)
    tiled_product(const A a, const B b, const Put put, int rows, int columns, int depth) {
    typedef typename A::Number T;
    constexpr int HIGH = TILED_SIDE * TILED_EACH, BROAD = TILED_SIDE * WIDE;
    __shared__ T left[TILED_DEPTH][HIGH + 1], right[TILED_DEPTH][BROAD + 1];
    const int x = (int)threadIdx.x % TILED_SIDE, y = (int)threadIdx.x / TILED_SIDE;
    const int row = (int)blockIdx.y * HIGH, column = (int)blockIdx.x * BROAD;
    const int batch = (int)blockIdx.z;
    T sum[TILED_EACH][WIDE] = {};
    for (int from = 0; from < depth; from += TILED_DEPTH) {
        __syncthreads(); /* the last tile has been read */
        tiled_fill<HIGH, A::ALONG>(
            left, [&](int m, int k) { return a(batch, m, k); }, row, from, rows, depth);
        tiled_fill<BROAD, B::ALONG>(
            right, [&](int n, int k) { return b(batch, n, k); }, column, from, columns, depth);
        __syncthreads();
#pragma unroll
        for (int k = 0; k < TILED_DEPTH; k++) {
            T u[TILED_EACH], v[WIDE];
#pragma unroll
            for (int i = 0; i < TILED_EACH; i++) u[i] = left[k][y + i * TILED_SIDE];
#pragma unroll
            for (int j = 0; j < WIDE; j++) v[j] = right[k][x + j * TILED_SIDE];
#pragma unroll
            for (int i = 0; i < TILED_EACH; i++)
#pragma unroll
                for (int j = 0; j < WIDE; j++) sum[i][j] = sum[i][j] + u[i] * v[j];
        }
    }
#pragma unroll
    for (int i = 0; i < TILED_EACH; i++)
#pragma unroll
        for (int j = 0; j < WIDE; j++) {
            const int m = row + y + i * TILED_SIDE, n = column + x + j * TILED_SIDE;
            if (m < rows && n < columns) put(batch, m, n, sum[i][j]);
        }
}

/* batches: at most 65535. */
template <class A, class B, class Put>
void tiled_products(const Run *run, int64_t batches, int64_t rows, int64_t columns, int64_t depth,
                    const A &a, const B &b, const Put &put) {
    const unsigned high = blocks_for(rows, TILED_SIDE * TILED_EACH);
    if (columns <= 2 * TILED_SIDE)
        LAUNCH(run, (tiled_product<2, A, B, Put>), dim3(1, high, (unsigned)batches), TILED_THREADS,
               0, a, b, put, (int)rows, (int)columns, (int)depth);
    else
        LAUNCH(run, (tiled_product<4, A, B, Put>),
               dim3(blocks_for(columns, 4 * TILED_SIDE), high, (unsigned)batches), TILED_THREADS, 0,
               a, b, put, (int)rows, (int)columns, (int)depth);
}

#endif
