/* Attention's heads that are wider than a tile. A block makes the results of one part of the
 * channels, number blockIdx.y; scores are sums over all channels, so the blocks of every part make
 * them.
 *
 * A block has two groups of four warps, both with the same rows. Each adds up half of the scores'
 * channels and takes the other's sums from shared memory; each makes the results of half a part,
 * which are then as many numbers a lane as those of a head that a tile holds. */
#ifndef LONGHAUL_OPS_ATTENTION_WIDE_H
#define LONGHAUL_OPS_ATTENTION_WIDE_H

#include <type_traits>

#include "engine/ops/attention/attention.cuh"

template <int D> constexpr bool attention_wide = D > ATTENTION_TILE_WIDTH;
template <int D> constexpr int attention_threads = (attention_wide<D> ? 2 : 1) * ATTENTION_THREADS;
/* Channels of the results of a warp. */
template <int D> constexpr int attention_width = attention_wide<D> ? D / 2 : D;

/* Which rows a warp has. */
template <int D> __device__ static inline unsigned attention_warp() {
    return attention_wide<D> ? threadIdx.x / WARP % ATTENTION_WARPS : threadIdx.x / WARP;
}
/* First channel of its results. */
template <int D> __device__ static inline int attention_channel() {
    return attention_wide<D> ? (int)(blockIdx.y * D + threadIdx.x / ATTENTION_THREADS * (D / 2))
                             : 0;
}

/* A wide head's T; nothing at all in the kernels of others. */
struct AttentionNothing {};
template <int D, class T>
using attention_if_wide = std::conditional_t<attention_wide<D>, T, AttentionNothing>;

/* Products of ROWS rows of one pair with COLUMNS of another, one strip a warp: the first of the one
 * with the first of the other, and, of two PRODUCTS, the second with the second. They are summed in
 * steps of 256 bytes of each row, 128 a group; two stages of operands come in turn. Beside them lie
 * what the scores will multiply: the block's part of the first columns, the second, or both. */
template <class M, int D, int ROWS, int COLUMNS, int PRODUCTS, bool FIRST, bool SECOND>
struct AttentionSteps {
    typedef typename M::Element Element;
    enum {
        THREADS = 2 * ATTENTION_THREADS,
        WIDTH = 128 / sizeof(Element),
        OPERANDS = (ROWS + COLUMNS) * WIDTH, /* of a group */
        PART = COLUMNS * D,
        PARTS = FIRST + SECOND
    };
    typedef SharedTile<Element, WIDTH> Operand;
    typedef SharedTile<Element, attention_width<D>> Part;
    typedef Lanes<4> Sums; /* a lane's, of 8 columns */
    static constexpr int SHARED = (4 * OPERANDS + PARTS * PART) * (int)sizeof(Element) +
                                  COLUMNS / 8 * THREADS * (int)sizeof(Sums);
    Element *start;
    const Element *rows[2], *columns[2]; /* q and dO, or k and v */
    unsigned row_size;                   /* of a copy */
    int64_t first;                       /* row of the block */
    int steps, stage;
    unsigned group, strip; /* of the warp */

    __device__ void open(const AttentionCall &x, Element *space, const void *row_copy,
                         const void *second_row_copy, int64_t first_row, const void *column_copy,
                         const void *second_column_copy) {
        start = space;
        rows[0] = static_cast<const Element *>(row_copy);
        rows[1] = static_cast<const Element *>(second_row_copy);
        columns[0] = static_cast<const Element *>(column_copy);
        columns[1] = static_cast<const Element *>(second_column_copy);
        row_size = (unsigned)x.parts * D;
        first = first_row;
        steps = (int)((x.width + 2 * WIDTH - 1) / (2 * WIDTH));
        stage = 0;
        group = threadIdx.x / ATTENTION_THREADS;
        strip = attention_warp<D>() * ATTENTION_STRIP;
    }
    __device__ Element *operands(int of_stage, unsigned of_group) const {
        return start + (of_stage * 2 + of_group) * OPERANDS;
    }
    __device__ Element *parts(int of_columns, unsigned of_group) const {
        const unsigned tile = (FIRST && of_columns ? 2 : 0) + of_group;
        return start + 4 * OPERANDS + tile * (PART / 2);
    }
    /* The group's tile of the part of columns 0 or 1. */
    __device__ Part part(int of_columns) const {
        return {parts(of_columns, group)};
    }
    /* A step of a product with the columns from row `column` of all on. */
    __device__ void fetch(int to_stage, int product, int step, int64_t column) const {
        for (unsigned g = 0; g < 2; g++) {
            const unsigned channel = (step * 2 + g) * WIDTH;
            const Operand row_tile = {operands(to_stage, g)},
                          column_tile = {row_tile.start + ROWS * WIDTH};
            row_tile.template copy_rows<ROWS, THREADS>(
                (product ? rows[1] : rows[0]) + first * row_size + channel, row_size);
            column_tile.template copy_rows<COLUMNS, THREADS>(
                (product ? columns[1] : columns[0]) + column * row_size + channel, row_size);
        }
    }
    __device__ void fetch_part(int of_columns, int64_t column) const {
        for (unsigned g = 0; g < 2; g++)
            Part{parts(of_columns, g)}.template copy_rows<COLUMNS, THREADS>(
                columns[of_columns] + column * row_size + blockIdx.y * D + g * (D / 2), row_size);
    }
    /* c = a product with the columns from `column` on; other warps may not want it. Its first step
     * has been fetched; that of what follows will be, after the last product with the columns from
     * `next` on, unless that is negative. */
    __device__ __forceinline__ void make(float (&c)[1][COLUMNS / 8][4], int product, int64_t column,
                                         int64_t next, bool wanted) {
#pragma unroll 1
        for (int step = 0; step < steps; step++, stage ^= 1) {
            copy_wait<0>();
            __syncthreads(); /* the step is here, and the other stage is no longer read */
            if (step + 1 < steps)
                fetch(stage ^ 1, product, step + 1, column);
            else if (product + 1 < PRODUCTS)
                fetch(stage ^ 1, product + 1, 0, column);
            else if (next >= 0)
                fetch(stage ^ 1, 0, 0, next);
            if (product == 0 && step == 0) { /* there is a second step, which waits for it */
                if constexpr (FIRST) fetch_part(0, column);
                if constexpr (SECOND) fetch_part(1, column);
            }
            copy_commit();
            if (!wanted) continue;
            const Operand row_tile = {operands(stage, group)};
            attention_scores<M, 1, COLUMNS>(c, row_tile, strip,
                                            Operand{row_tile.start + ROWS * WIDTH});
        }
        Sums *const sums = reinterpret_cast<Sums *>(start + 4 * OPERANDS + PARTS * PART);
#pragma unroll
        for (int n = 0; n < COLUMNS / 8; n++)
            sums[n * THREADS + threadIdx.x] = {{c[0][n][0], c[0][n][1], c[0][n][2], c[0][n][3]}};
        __syncthreads();
#pragma unroll
        for (int n = 0; n < COLUMNS / 8; n++) {
            const Sums other = sums[n * THREADS + (threadIdx.x ^ ATTENTION_THREADS)];
            for (int e = 0; e < 4; e++) c[0][n][e] += other.of[e];
        }
    }
};

#endif
