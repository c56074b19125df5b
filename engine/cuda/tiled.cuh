/* Many small matrix products in one launch, of numbers that functors fetch and take: for operations
 * whose matrices do not lie in memory as such. Tiles in shared memory, sums in registers, k in
 * ascending order. */
#ifndef LONGHAUL_CUDA_TILED_H
#define LONGHAUL_CUDA_TILED_H

#include "engine/cuda/grid.cuh"

enum { TILED_DEPTH = 16, TILED_EACH = 4 };

/* A side of a tile: `COUNT` rows or columns by TILED_DEPTH of k; ALONG: neighbouring numbers in
 * memory are neighbours in k. */
template <int THREADS, int COUNT, bool ALONG, class T, class Fetch>
__device__ inline void tiled_fill(T tile[TILED_DEPTH][COUNT + 1], const Fetch &fetch, int first,
                                  int from, int end, int depth) {
    for (int n = (int)threadIdx.x; n < COUNT * TILED_DEPTH; n += THREADS) {
        const int at = ALONG ? n / TILED_DEPTH : n % COUNT, k = ALONG ? n % TILED_DEPTH : n / COUNT;
        const bool inside = first + at < end && from + k < depth;
        tile[k][at] = inside ? fetch(first + at, from + k) : T{};
    }
}

/* SIDE by SIDE threads with TILED_EACH by WIDE sums each: put(batch, m, n, sum over k < depth of
 * a(batch, m, k) b(batch, n, k)); a, b: A::Number. A::ALONG: its neighbours in memory are
 * neighbours in k, else in m; B::ALONG likewise. */
template <int SIDE, int WIDE, class A, class B, class Put>
KERNEL void __launch_bounds__(SIDE *SIDE)
    tiled_product(const A a, const B b, const Put put, int rows, int columns, int depth) {
    typedef typename A::Number T;
    constexpr int HIGH = SIDE * TILED_EACH, BROAD = SIDE * WIDE;
    __shared__ T left[TILED_DEPTH][HIGH + 1], right[TILED_DEPTH][BROAD + 1];
    const int x = (int)threadIdx.x % SIDE, y = (int)threadIdx.x / SIDE;
    const int row = (int)blockIdx.y * HIGH, column = (int)blockIdx.x * BROAD;
    const int batch = (int)blockIdx.z;
    T sum[TILED_EACH][WIDE] = {};
    for (int from = 0; from < depth; from += TILED_DEPTH) {
        __syncthreads(); /* the last tile has been read */
        tiled_fill<SIDE * SIDE, HIGH, A::ALONG>(
            left, [&](int m, int k) { return a(batch, m, k); }, row, from, rows, depth);
        tiled_fill<SIDE * SIDE, BROAD, B::ALONG>(
            right, [&](int n, int k) { return b(batch, n, k); }, column, from, columns, depth);
        __syncthreads();
#pragma unroll
        for (int k = 0; k < TILED_DEPTH; k++) {
            T u[TILED_EACH], v[WIDE];
#pragma unroll
            for (int i = 0; i < TILED_EACH; i++) u[i] = left[k][y + i * SIDE];
#pragma unroll
            for (int j = 0; j < WIDE; j++) v[j] = right[k][x + j * SIDE];
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
            const int m = row + y + i * SIDE, n = column + x + j * SIDE;
            if (m < rows && n < columns) put(batch, m, n, sum[i][j]);
        }
}

template <int SIDE, int WIDE, class A, class B, class Put>
void launch_tiled(const Run *run, int64_t batches, int64_t rows, int64_t columns, int64_t depth,
                  const A &a, const B &b, const Put &put) {
    const dim3 grid(blocks_for(columns, SIDE * WIDE), blocks_for(rows, SIDE * TILED_EACH),
                    (unsigned)batches);
    LAUNCH(run, (tiled_product<SIDE, WIDE, A, B, Put>), grid, SIDE * SIDE, 0, a, b, put, (int)rows,
           (int)columns, (int)depth);
}

/* batches: at most 65535. */
template <class A, class B, class Put>
void tiled_products(const Run *run, int64_t batches, int64_t rows, int64_t columns, int64_t depth,
                    const A &a, const B &b, const Put &put) {
    if (rows <= 32 && columns <= 32)
        launch_tiled<8, 4>(run, batches, rows, columns, depth, a, b, put);
    else if (columns <= 32)
        launch_tiled<16, 2>(run, batches, rows, columns, depth, a, b, put);
    else
        launch_tiled<16, 4>(run, batches, rows, columns, depth, a, b, put);
}

#endif
