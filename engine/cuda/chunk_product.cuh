/* Products on chunks of TILE tokens for kernels of recurrences: operands are weighted as they come
 * to shared memory (tile_product.cuh), triangles of weights stay there as squares. */
#ifndef LONGHAUL_CUDA_CHUNK_PRODUCT_H
#define LONGHAUL_CUDA_CHUNK_PRODUCT_H

#include <type_traits>

#include "engine/cuda/quad.cuh"
#include "engine/cuda/tile_product.cuh"

typedef float Sums[TILE / 8][4];
/* The first of the lane's two rows of them; the other one is 8 below. */
__device__ static inline int first_row() {
    return (int)threadIdx.x / (int)WARP * STRIP + (int)lane_row();
}

/* Sums of those two rows, as the lane has them. */
struct RowSums {
    float upper, lower;
    __device__ void add(int row, float x) {
        const bool second = row != first_row();
        upper += second ? 0.0f : x;
        lower += second ? x : 0.0f;
    }
    __device__ float of(int r) const {
        return r ? lower : upper;
    }
};

template <class M> __device__ static inline typename M::Element rounded_as(float x) {
    if constexpr (sizeof(typename M::Element) == sizeof(bfloat))
        return bfloat_of(x);
    else if constexpr (std::is_same_v<M, ProductsOfTf32>)
        return float_of_bits(tf32_bits(x));
    else
        return x;
}
/* square[row][column] = the sums, or turned: square[column][row]. */
template <class M, bool TURNED = false>
__device__ static inline void store_square(Sums &sums,
                                           const SharedTile<typename M::Element, TILE> &square) {
    each_result(sums, [&](int row, int column, float x) {
        *square.at((unsigned)(TURNED ? column : row), (unsigned)(TURNED ? row : column)) =
            rounded_as<M>(x);
    });
}

/* Shared memory of a block: slabs of both operands, and squares that stay. */
template <class M, int SQUARES> struct ChunkSpace {
    typedef typename M::Element Element;
    typedef SharedTile<Element, SLAB> Slab;
    typedef SharedTile<Element, TILE> Square;
    Element *start;
    __device__ ChunkSpace() : start(shared_memory<Element>()) {
    }
    __device__ Slab slab(int operand) const {
        return {start + operand * TILE * SLAB};
    }
    __device__ Square square(int number) const {
        return {start + 2 * TILE * SLAB + number * TILE * TILE};
    }
    static size_t bytes() {
        return (2 * TILE * SLAB + SQUARES * TILE * TILE) * sizeof(Element);
    }
};

/* sums[row][column] += sum over i < terms of a(row, i) b(column, i); both are zero outside. A_DOWN,
 * B_DOWN: as in fill. */
template <class M, bool A_DOWN, bool B_DOWN, class Space, class A, class B>
__device__ static inline void add_product(Sums &sums, const Space &space, int64_t terms, const A &a,
                                          const B &b) {
    for (int first = 0; first < terms; first += SLAB) {
        __syncthreads(); /* the slabs before are read */
        fill<M, SLAB, A_DOWN>(space.slab(0), [&](int row, int i) { return a(row, first + i); });
        fill<M, SLAB, B_DOWN>(space.slab(1), [&](int row, int i) { return b(row, first + i); });
        __syncthreads();
        multiply_slab<M>(sums, space.slab(0), space.slab(1));
    }
}

/* The same with a square that is there: sum over all TILE columns i of square[row][i] b(column, i).
 */
template <class M, bool B_DOWN, class Space, class B>
__device__ static inline void add_square(Sums &sums, const Space &space, int square, const B &b) {
    for (int first = 0; first < TILE; first += SLAB) {
        __syncthreads();
        fill<M, SLAB, B_DOWN>(space.slab(1), [&](int row, int i) { return b(row, first + i); });
        __syncthreads();
        multiply_slab<M>(sums, space.square(square), space.slab(1), (unsigned)first);
    }
}

/* Rows of a matrix whose rows below `rows` and columns below `columns` exist. */
struct ChunkRows {
    const float *from;
    int64_t row;
    int rows, columns;
    __device__ float at(int r, int c) const {
        return r < rows && c < columns ? from[r * row + c] : 0.0f;
    }
};

#endif
