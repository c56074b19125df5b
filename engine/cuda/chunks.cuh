/* Recurrences in each channel of (B, L, D), for all chunks of ROWS tokens at the same time: a
 * thread for each channel of each chunk, so that neighbouring threads are neighbouring channels. */
#ifndef LONGHAUL_CUDA_CHUNKS_H
#define LONGHAUL_CUDA_CHUNKS_H

#include "engine/cuda/grid.cuh"

/* A channel of a chunk. */
struct ChunkPlace {
    int64_t b, chunk, d;
    int64_t row;   /* of (B, chunks) */
    int64_t first; /* its first element in (B, L, D) */
    int rows;      /* tokens; the last chunk may have fewer */
};

template <int ROWS> struct Chunks {
    int64_t B, L, D, count; /* count: of a sequence */
    Divisor by_channels, by_chunks;

    int64_t places() const {
        return B * count * D;
    }
    __device__ ChunkPlace place(int64_t n) const {
        ChunkPlace at;
        at.row = by_channels.of(n);
        at.d = n - at.row * D;
        at.b = by_chunks.of(at.row);
        at.chunk = at.row - at.b * count;
        const int64_t token = at.chunk * ROWS, left = L - token;
        at.rows = left < ROWS ? (int)left : ROWS;
        at.first = (at.b * L + token) * D + at.d;
        return at;
    }
};

/* Of a tensor (B, L, D). */
template <int ROWS> Chunks<ROWS> chunks_of(const Tensor *x) {
    Chunks<ROWS> c = {extent(x, 0), extent(x, 1), extent(x, 2), 0, {}, {}};
    c.count = (c.L + ROWS - 1) / ROWS;
    c.by_channels = divide_by(c.D);
    c.by_chunks = divide_by(c.count);
    return c;
}

#endif
