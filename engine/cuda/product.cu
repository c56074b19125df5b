#include "engine/cuda/product.h"

enum { TILE = 64, DEPTH = 16, THREADS = 256, EACH = 4, PAD = 4 };

/* Bits of a float32's mantissa that the two formats do not have. */
enum { BF16_DROPS = 16, TF32_DROPS = 13 };

/* Number `column` of a stored row as the product reads it. */
__device__ static inline float read(const float *data, int64_t ld, const Rounded &copy,
                                    Products products, int64_t row, int64_t column) {
    if (copy.data) return float_of(copy.data[row * copy.ld + column]);
    const float x = data[row * ld + column];
    return products == PRODUCTS_FLOAT
               ? x
               : float_of_bits(
                     rounded_bits(x, products == PRODUCTS_BF16 ? BF16_DROPS : TF32_DROPS));
}

/* Element (i, p) of A and (p, j) of B, zero outside. */
template <bool TA>
__device__ static inline float a_at(const Product &x, Products products, int64_t i, int64_t p) {
    if (i >= x.m || p >= x.k) return 0.0f;
    return read(x.a, x.lda, x.rounded_a, products, TA ? p : i, TA ? i : p);
}
template <bool TB>
__device__ static inline float b_at(const Product &x, Products products, int64_t p, int64_t j) {
    if (p >= x.k || j >= x.n) return 0.0f;
    return read(x.b, x.ldb, x.rounded_b, products, TB ? j : p, TB ? p : j);
}

template <bool TA, bool TB>
KERNEL void __launch_bounds__(THREADS) tiled(Product x, Products products) {
    __shared__ float a[DEPTH][TILE + PAD], b[DEPTH][TILE + PAD];
    const int64_t row = (int64_t)blockIdx.y * TILE, column = (int64_t)blockIdx.x * TILE;
    const int down = (int)threadIdx.x / (TILE / EACH) * EACH;
    const int across = (int)threadIdx.x % (TILE / EACH) * EACH;
    float sum[EACH][EACH] = {};
    for (int64_t depth = 0; depth < x.k; depth += DEPTH) {
        for (int e = (int)threadIdx.x; e < TILE * DEPTH; e += THREADS) {
            /* neighbouring threads read neighbouring floats, whichever way the matrix lies */
            const int ap = TA ? e / TILE : e % DEPTH, ai = TA ? e % TILE : e / DEPTH;
            const int bp = TB ? e % DEPTH : e / TILE, bj = TB ? e / DEPTH : e % TILE;
            a[ap][ai] = a_at<TA>(x, products, row + ai, depth + ap);
            b[bp][bj] = b_at<TB>(x, products, depth + bp, column + bj);
        }
        __syncthreads();
        for (int p = 0; p < DEPTH; p++)
            for (int i = 0; i < EACH; i++)
                for (int j = 0; j < EACH; j++) sum[i][j] += a[p][down + i] * b[p][across + j];
        __syncthreads();
    }
    for (int i = 0; i < EACH; i++)
        for (int j = 0; j < EACH; j++) {
            const int64_t r = row + down + i, c = column + across + j;
            if (r >= x.m || c >= x.n) continue;
            float value = sum[i][j];
            if (x.bias) value += x.bias[c];
            if (x.start) value += x.start[r * x.ldc + c];
            x.c[r * x.ldc + c] = value;
        }
}

void product_tiled(const Run *run, const Product &x) {
    /* Blocks in y are limited to 65535: rows beyond go into further launches. */
    const int64_t most = (int64_t)65535 * TILE;
    for (int64_t first = 0; first < x.m; first += most) {
        Product part = x;
        part.m = x.m - first < most ? x.m - first : most;
        part.a += x.transposed_a ? first : first * x.lda;
        if (x.rounded_a.data)
            part.rounded_a.data += x.transposed_a ? first : first * x.rounded_a.ld;
        part.c += first * x.ldc;
        if (x.start) part.start += first * x.ldc;
        const dim3 grid(blocks_for(part.n, TILE), blocks_for(part.m, TILE));
        if (x.transposed_a)
            LAUNCH(run, (x.transposed_b ? tiled<true, true> : tiled<true, false>), grid, THREADS, 0,
                   part, run->products);
        else
            LAUNCH(run, (x.transposed_b ? tiled<false, true> : tiled<false, false>), grid, THREADS,
                   0, part, run->products);
    }
}
