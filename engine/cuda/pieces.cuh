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

    __device__ Piece get(int64_t row, int64_t first) const {
        Piece x = {};
        const float *const from = data + row * ld + first;
        if (data && fours && first + PIECE <= columns) {
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
    __device__ void put(int64_t row, int64_t first, const Piece &x) const {
        float *const to = data + row * ld + first;
        if (data && fours && first + PIECE <= columns) {
            for (int k = 0; k < PIECE; k += 4)
                store<4>(to + k, {{x.of[k], x.of[k + 1], x.of[k + 2], x.of[k + 3]}});
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

/* partial[slice, c] = sum over the slice's rows of what pass makes of them. A block has `across`
 * pieces of a row, lines of threads take rows in turn and are added in order. Loads of several rows
 * go before their stores: a store could be what a later load reads, so the compiler keeps their
 * order. */
template <class Pass>
KERNEL void __launch_bounds__(PIECE_THREADS)
    summing_pass(const Pass pass, int64_t rows, int64_t columns, int64_t slices, int across,
                 float *partial) {
    __shared__ Piece sums[PIECE_THREADS];
    const int own = (int)threadIdx.x % across, line = (int)threadIdx.x / across;
    const int lines = PIECE_THREADS / across;
    const int64_t start = (int64_t)blockIdx.x * across * PIECE, first = start + own * PIECE;
    const int64_t slice = blockIdx.y, to = (slice + 1) * rows / slices;
    Piece sum = {};
    for (int64_t row = slice * rows / slices + line; row < to && first < columns;
         row += lines * PIECE_AHEAD) {
        typename Pass::Loaded loaded[PIECE_AHEAD];
#pragma unroll
        for (int k = 0; k < PIECE_AHEAD; k++)
            if (row + k * lines < to) loaded[k] = pass.get(row + k * lines, first);
#pragma unroll
        for (int k = 0; k < PIECE_AHEAD; k++) {
            if (row + k * lines >= to) break;
            const Piece x = pass.make(row + k * lines, first, loaded[k]);
            for (int e = 0; e < PIECE; e++) sum.of[e] += x.of[e];
        }
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

/* Calls loaded = pass.get(row, first), then x = pass.make(row, first, loaded), for all pieces of a
 * (rows, columns) matrix; sums (columns) = or += the sum over rows of x. sums: NULL if not wanted,
 * otherwise with column_scratch bytes of scratch. */
template <class Pass>
void pass_with_sums(const Run *run, const Pass &pass, int64_t rows, int64_t columns, float *sums,
                    bool accumulate, float *scratch) {
    const int64_t slices = column_slices(rows), pieces = (columns + PIECE - 1) / PIECE;
    int across = 1;
    while (across < pieces && across < PIECE_ACROSS) across *= 2;
    LAUNCH(run, summing_pass<Pass>, dim3(blocks_for(pieces, across), (unsigned)slices),
           PIECE_THREADS, 0, pass, rows, columns, slices, across, sums ? scratch : NULL);
    if (sums) add_slices(run, (const float *)scratch, columns, slices, sums, accumulate);
}

#endif
