/* Passes over matrices, eight neighbours of a row to a thread: 32 bytes of float32, 16 of bfloat16.
 * Those that also add up columns cut the rows into slices (columns.cuh). */
#ifndef LONGHAUL_CUDA_PIECES_H
#define LONGHAUL_CUDA_PIECES_H

#include "engine/cuda/columns.cuh"

enum {
    PIECE = 8,
    PIECE_THREADS = 256,
    PIECE_ACROSS = WARP, /* most pieces of a row in one block */
    PIECE_AHEAD = 4      /* rows of a thread that are loaded at once */
};
struct Piece {
    float of[PIECE];
};

/* A matrix by pieces: zeros behind its rows and, where there is none, everywhere. */
struct Pieces {
    float *data;
    int64_t columns, ld;
    bool fours; /* pieces begin at multiples of 16 bytes */

    /* Whether no piece is cut short: WHOLE says below that this is known. */
    bool whole() const {
        return fours && columns % PIECE == 0;
    }
    template <bool WHOLE = false> __device__ Piece get(int64_t row, int64_t first) const {
        Piece x = {};
        const float *const from = data + row * ld + first;
        if (data && (WHOLE || (fours && first + PIECE <= columns))) {
            for (int k = 0; k < PIECE; k += 4) {
                const Lanes<4> four = load<4>(from + k);
                for (int e = 0; e < 4; e++) x.of[k + e] = four.of[e];
            }
        } else if (data) {
            for (int e = 0; e < PIECE; e++)
                if (first + e < columns) x.of[e] = from[e];
        }
        return x;
    }
    template <bool WHOLE = false>
    __device__ void put(int64_t row, int64_t first, const Piece &x) const {
        float *const to = data + row * ld + first;
        if (data && (WHOLE || (fours && first + PIECE <= columns))) {
            for (int k = 0; k < PIECE; k += 4) store_four(to + k, x.of + k);
        } else if (data) {
            for (int e = 0; e < PIECE; e++)
                if (first + e < columns) to[e] = x.of[e];
        }
    }
};
/* The data of what is only read is not written. */
static inline Pieces pieces_of(const float *data, int64_t columns, int64_t ld) {
    return {const_cast<float *>(data), columns, ld,
            ld % 4 == 0 && reinterpret_cast<uintptr_t>(data) % 16 == 0};
}

/* body(row, first) for all pieces of a (rows, columns) matrix. */
template <class Body>
void for_each_piece(const Run *run, int64_t rows, int64_t columns, Body body) {
    const Divisor pieces = divide_by((columns + PIECE - 1) / PIECE);
    for_each(run, rows * pieces.d, [=] __device__(int64_t i) {
        const int64_t row = pieces.of(i);
        body(row, (i - row * pieces.d) * PIECE);
    });
}

/* Adds to sum what the pass makes of AHEAD rows that lie `lines` apart. What it wants to know about
 * them is asked for first, all of it at once, then their pieces, before anything is stored: a store
 * could be what a later load reads, so the compiler keeps their order. */
template <int AHEAD, bool WHOLE, class Pass>
__device__ static inline void add_pieces(const Pass &pass, int64_t row, int lines, int64_t first,
                                         Piece &sum) {
    typename Pass::About about[AHEAD];
    typename Pass::Loaded loaded[AHEAD];
#pragma unroll
    for (int k = 0; k < AHEAD; k++) about[k] = pass.about(row + k * lines);
#pragma unroll
    for (int k = 0; k < AHEAD; k++)
        loaded[k] = pass.template get<WHOLE>(row + k * lines, first, about[k]);
#pragma unroll
    for (int k = 0; k < AHEAD; k++) {
        const Piece x = pass.template make<WHOLE>(row + k * lines, first, about[k], loaded[k]);
        for (int e = 0; e < PIECE; e++) sum.of[e] += x.of[e];
    }
}

/* partial[slice, c] = sum over the slice's rows of what pass makes of them. A block has ACROSS
 * pieces of a row, or 2^across_bits with ACROSS zero, and these may be cut short; lines of threads
 * take rows in turn and are added in order. */
template <class Pass, int ACROSS>
KERNEL void __launch_bounds__(PIECE_THREADS)
    summing_pass(const Pass pass, int64_t rows, int64_t columns, Divisor slices, int across_bits,
                 float *partial) {
    __shared__ Piece sums[PIECE_THREADS];
    constexpr bool WHOLE = ACROSS > 0;
    const int across = WHOLE ? ACROSS : 1 << across_bits;
    const int lines = WHOLE ? (int)PIECE_THREADS / ACROSS : PIECE_THREADS >> across_bits;
    const int own = (int)threadIdx.x & (across - 1), line = (int)threadIdx.x / across;
    const int64_t start = (int64_t)blockIdx.x * across * PIECE, first = start + own * PIECE;
    const int64_t slice = blockIdx.y, to = slices.of((slice + 1) * rows);
    Piece sum = {};
    if (first < columns) {
        int64_t row = slices.of(slice * rows) + line;
        for (; row + (PIECE_AHEAD - 1) * lines < to; row += PIECE_AHEAD * lines)
            add_pieces<PIECE_AHEAD, WHOLE>(pass, row, lines, first, sum);
        for (; row < to; row += lines) add_pieces<1, WHOLE>(pass, row, lines, first, sum);
    }
    if (!partial) return;
    sums[threadIdx.x] = sum;
    __syncthreads();
    for (int c = (int)threadIdx.x; c < across * PIECE; c += PIECE_THREADS) {
        float total = 0;
        for (int i = 0; i < lines; i++) total += sums[i * across + c / PIECE].of[c % PIECE];
        if (start + c < columns) partial[slice * columns + start + c] = total;
    }
}

/* Calls about = pass.about(row), loaded = pass.get<WHOLE>(row, first, about), then
 * x = pass.make<WHOLE>(row, first, about, loaded), for all pieces of a (rows, columns) matrix,
 * WHOLE only if pass.whole(); sums (columns) = or += the sum over rows of x. sums: NULL if not
 * wanted, otherwise with column_scratch bytes of scratch. */
template <class Pass>
void pass_with_sums(const Run *run, const Pass &pass, int64_t rows, int64_t columns, float *sums,
                    bool accumulate, float *scratch) {
    const int64_t slices = column_slices(rows), pieces = (columns + PIECE - 1) / PIECE;
    int bits = 0;
    while (1 << bits < pieces && 1 << bits < PIECE_ACROSS) bits++;
    const bool whole = pass.whole();
    LAUNCH(run,
           (whole && bits == 5   ? summing_pass<Pass, 32>
            : whole && bits == 4 ? summing_pass<Pass, 16>
                                 : summing_pass<Pass, 0>),
           dim3(blocks_for(pieces, 1 << bits), (unsigned)slices), PIECE_THREADS, 0, pass, rows,
           columns, divide_by(slices), bits, sums ? scratch : NULL);
    if (sums) add_slices(run, (const float *)scratch, columns, slices, sums, accumulate);
}

#endif
