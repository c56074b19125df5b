/* Products of small matrices by a warp, on tensor cores: C (16, 16) += A (16, DEPTH) B (DEPTH, 16),
 * sums in float32. Three kinds with one interface, by what they round inputs to: kernels are
 * templates over them.
 *
 * C lies in the registers as two tiles of 8 columns: lane l holds in c[0], c[1] row l / 4, columns
 * l % 4 * 2 and the next, in c[2], c[3] the same columns of row l / 4 + 8. A and B come from tiles
 * in shared memory, or A from such sums (the weights of attention), without a trip through memory.
 */
#ifndef LONGHAUL_CUDA_MATRIX_H
#define LONGHAUL_CUDA_MATRIX_H

#include "engine/cuda/copies.cuh"
#include "engine/cuda/rounded.cuh"

#ifdef LONGHAUL_EMULATED
#include "engine/cuda/emulated_matrix.h"
#else

/* Four matrices of 8 rows of 16 bytes; lane l names row l % 8 of matrix l / 8. Lane l receives
 * elements l % 4 * 2 and the next of row l / 4 of each; transposed: of column l / 4. */
__device__ static inline void load_matrices(uint32_t r[4], const void *row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row)));
}
__device__ static inline void load_matrices_transposed(uint32_t r[4], const void *row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row)));
}

__device__ static inline void multiply_bf16(float c[4], const uint32_t a[4], uint32_t b0,
                                            uint32_t b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
        "{%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
__device__ static inline void multiply_tf32(float c[4], const uint32_t a[4], uint32_t b0,
                                            uint32_t b1) {
    asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
        "{%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/* Nearest, ties away from zero. */
__device__ static inline uint32_t tf32_bits(float x) {
    uint32_t bits;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
    return bits;
}
#endif

/* A tile in shared memory: rows of WIDTH elements without a gap. The 16-byte chunks of a row are
 * permuted by its number, so that the chunks of eight neighbouring rows in one column lie in
 * different banks. */
template <class T, int WIDTH> struct SharedTile {
    T *start;
    enum {
        CHUNK = 16 / sizeof(T),
        CHUNKS = WIDTH / CHUNK,
        AROUND = CHUNKS < 8 ? CHUNKS : 8 /* chunks that trade places */
    };
    __device__ T *chunk(unsigned row, unsigned number) const {
        const unsigned turn = row / (8 / AROUND) % AROUND;
        return start + row * WIDTH + (number ^ turn) * CHUNK;
    }
    __device__ T *at(unsigned row, unsigned column) const {
        return chunk(row, column / CHUNK) + column % CHUNK;
    }
    /* The whole block copies rows from a matrix, asynchronously; its rows are `stride` apart. */
    template <int ROWS, int THREADS>
    __device__ void copy_rows(const T *from, unsigned stride = WIDTH) const {
        static_assert(ROWS * CHUNKS % THREADS == 0 || ROWS * CHUNKS < THREADS, "whole turns");
        for (unsigned i = threadIdx.x; i < ROWS * CHUNKS; i += THREADS)
            copy_async(chunk(i / CHUNKS, i % CHUNKS),
                       from + (int64_t)i * CHUNK + i / CHUNKS * (stride - WIDTH));
    }
};

/* Lane's row and first column in C. */
__device__ static inline unsigned lane_row() {
    return threadIdx.x % WARP / 4;
}
__device__ static inline unsigned lane_column() {
    return threadIdx.x % 4 * 2;
}

struct ProductsOfBf16 {
    typedef bfloat Element;
    enum { DEPTH = 16 };
    struct A {
        uint32_t r[4];
    };
    struct B {
        uint32_t r[4]; /* two registers for each 8 columns */
    };
    /* A[m][k] = tile[row + m][column + k] */
    template <int W>
    __device__ static void load_a(A &a, const SharedTile<Element, W> &tile, unsigned row,
                                  unsigned column) {
        const unsigned lane = threadIdx.x % WARP;
        load_matrices(a.r, tile.chunk(row + lane % 16, column / 8 + lane / 16));
    }
    /* B[k][n] = tile[row + n][column + k] */
    template <int W>
    __device__ static void load_b_rows(B &b, const SharedTile<Element, W> &tile, unsigned row,
                                       unsigned column) {
        const unsigned lane = threadIdx.x % WARP;
        load_matrices(b.r, tile.chunk(row + lane % 8 + lane / 16 * 8, column / 8 + lane / 8 % 2));
    }
    /* B[k][n] = tile[row + k][column + n], for an A that from_sums made */
    template <int W>
    __device__ static void load_b_columns(B &b, const SharedTile<Element, W> &tile, unsigned row,
                                          unsigned column) {
        const unsigned lane = threadIdx.x % WARP;
        load_matrices_transposed(b.r, tile.chunk(row + lane % 16, column / 8 + lane / 16));
    }
    /* A from DEPTH / 8 tiles of sums side by side */
    __device__ static void from_sums(A &a, const float c[][4]) {
        a.r[0] = two_bf16(c[0][0], c[0][1]);
        a.r[1] = two_bf16(c[0][2], c[0][3]);
        a.r[2] = two_bf16(c[1][0], c[1][1]);
        a.r[3] = two_bf16(c[1][2], c[1][3]);
    }
    __device__ static void multiply(float c0[4], float c1[4], const A &a, const B &b) {
        multiply_bf16(c0, a.r, b.r[0], b.r[1]);
        multiply_bf16(c1, a.r, b.r[2], b.r[3]);
    }
    __device__ static void store(Element *to, const Lanes<4> &x) {
        struct alignas(8) Packed {
            uint32_t r[2];
        };
        *reinterpret_cast<Packed *>(to) = {
            {two_bf16(x.of[0], x.of[1]), two_bf16(x.of[2], x.of[3])}};
    }
};

struct ProductsOfTf32 {
    typedef float Element;
    enum { DEPTH = 8 };
    struct A {
        uint32_t r[4];
    };
    struct B {
        uint32_t r[4];
    };
    template <int W>
    __device__ static void load_a(A &a, const SharedTile<Element, W> &tile, unsigned row,
                                  unsigned column) {
        const unsigned m = row + lane_row(), k = column + threadIdx.x % 4;
        a.r[0] = bits_of(*tile.at(m, k));
        a.r[1] = bits_of(*tile.at(m + 8, k));
        a.r[2] = bits_of(*tile.at(m, k + 4));
        a.r[3] = bits_of(*tile.at(m + 8, k + 4));
    }
    template <int W>
    __device__ static void load_b_rows(B &b, const SharedTile<Element, W> &tile, unsigned row,
                                       unsigned column) {
        const unsigned n = row + lane_row(), k = column + threadIdx.x % 4;
        b.r[0] = bits_of(*tile.at(n, k));
        b.r[1] = bits_of(*tile.at(n, k + 4));
        b.r[2] = bits_of(*tile.at(n + 8, k));
        b.r[3] = bits_of(*tile.at(n + 8, k + 4));
    }
    /* Sums hold columns 2 i and 2 i + 1 where A has i and i + 4: k in another order, here too. */
    template <int W>
    __device__ static void load_b_columns(B &b, const SharedTile<Element, W> &tile, unsigned row,
                                          unsigned column) {
        const unsigned k = row + lane_column(), n = column + lane_row();
        b.r[0] = bits_of(*tile.at(k, n));
        b.r[1] = bits_of(*tile.at(k + 1, n));
        b.r[2] = bits_of(*tile.at(k, n + 8));
        b.r[3] = bits_of(*tile.at(k + 1, n + 8));
    }
    __device__ static void from_sums(A &a, const float c[][4]) {
        a.r[0] = tf32_bits(c[0][0]);
        a.r[1] = tf32_bits(c[0][2]);
        a.r[2] = tf32_bits(c[0][1]);
        a.r[3] = tf32_bits(c[0][3]);
    }
    __device__ static void multiply(float c0[4], float c1[4], const A &a, const B &b) {
        multiply_tf32(c0, a.r, b.r[0], b.r[1]);
        multiply_tf32(c1, a.r, b.r[2], b.r[3]);
    }
    __device__ static void store(Element *to, const Lanes<4> &x) {
        Lanes<4> rounded;
        for (int i = 0; i < 4; i++) rounded.of[i] = float_of_bits(tf32_bits(x.of[i]));
        *reinterpret_cast<Lanes<4> *>(to) = rounded;
    }
};

/* Plain float32, for checks: a lane multiplies whole rows by whole columns. */
struct ProductsOfFloat {
    typedef float Element;
    enum { DEPTH = 8 };
    struct A {
        float x[2][DEPTH]; /* rows lane_row() and that + 8 */
    };
    struct B {
        float x[2][2][DEPTH]; /* columns lane_column(), the next; the same + 8 */
    };
    template <int W>
    __device__ static void load_row(float x[DEPTH], const SharedTile<Element, W> &tile,
                                    unsigned row, unsigned column) {
        for (int half = 0; half < 2; half++) {
            const Lanes<4> four =
                *reinterpret_cast<const Lanes<4> *>(tile.chunk(row, column / 4 + half));
            for (int i = 0; i < 4; i++) x[half * 4 + i] = four.of[i];
        }
    }
    template <int W>
    __device__ static void load_a(A &a, const SharedTile<Element, W> &tile, unsigned row,
                                  unsigned column) {
        load_row(a.x[0], tile, row + lane_row(), column);
        load_row(a.x[1], tile, row + lane_row() + 8, column);
    }
    template <int W>
    __device__ static void load_b_rows(B &b, const SharedTile<Element, W> &tile, unsigned row,
                                       unsigned column) {
        for (int n = 0; n < 4; n++)
            load_row(b.x[n / 2][n % 2], tile, row + lane_column() + n / 2 * 8 + n % 2, column);
    }
    template <int W>
    __device__ static void load_b_columns(B &b, const SharedTile<Element, W> &tile, unsigned row,
                                          unsigned column) {
        for (int k = 0; k < DEPTH; k++)
            for (int half = 0; half < 2; half++) {
                const Lanes<2> two = *reinterpret_cast<const Lanes<2> *>(
                    tile.at(row + k, column + lane_column() + half * 8));
                b.x[half][0][k] = two.of[0];
                b.x[half][1][k] = two.of[1];
            }
    }
    __device__ static void from_sums(A &a, const float c[][4]) {
        const unsigned quad = threadIdx.x % WARP & ~3u;
        for (unsigned k = 0; k < DEPTH; k++) {
            a.x[0][k] = __shfl_sync(0xFFFFFFFFu, c[0][k % 2], quad + k / 2);
            a.x[1][k] = __shfl_sync(0xFFFFFFFFu, c[0][2 + k % 2], quad + k / 2);
        }
    }
    __device__ static void multiply(float c0[4], float c1[4], const A &a, const B &b) {
        for (int k = 0; k < DEPTH; k++)
            for (int row = 0; row < 2; row++)
                for (int n = 0; n < 2; n++) {
                    c0[row * 2 + n] += a.x[row][k] * b.x[0][n][k];
                    c1[row * 2 + n] += a.x[row][k] * b.x[1][n][k];
                }
    }
    __device__ static void store(Element *to, const Lanes<4> &x) {
        *reinterpret_cast<Lanes<4> *>(to) = x;
    }
};

/* body.operator()<M>() with the products of the run. */
template <class Body> void with_products(const Run *run, const Body &body) {
    switch (run->products) {
    case PRODUCTS_TF32:
        return body.template operator()<ProductsOfTf32>();
    case PRODUCTS_BF16:
        return body.template operator()<ProductsOfBf16>();
    case PRODUCTS_FLOAT:
        break;
    }
    body.template operator()<ProductsOfFloat>();
}

#endif
