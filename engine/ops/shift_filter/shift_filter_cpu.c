/* Channels are the lanes; TILE outputs are summed in registers, so that a product costs one load
 * and a fraction of another: bound by loads, half of the multiply-add peak. Once a batch. */
#include "engine/gradient_simd.h"
#include "engine/ops/shift_filter/shift_filter.h"

enum { TILE = 8 };

/* One block of channels: pointers at its first one, rows D floats apart. */
typedef struct Block {
    const float *a, *b;
    int64_t a_rows, b_rows, D;
} Block;

/* sum[i] = sum_m a[m] b[first + i + side m], side 1 or -1, over the rows that there are, for n
 * channels. */
ALWAYS_INLINE void sum_tile(const Block *block, int64_t first, int64_t side, int64_t n,
                            vfloat sum[TILE]) {
    const int64_t D = block->D, rows = block->b_rows;
    for (int i = 0; i < TILE; i++) sum[i] = v_zero();
    for (int64_t m = 0; m < block->a_rows; m++) {
        const int64_t at = first + side * m;
        if (side > 0 ? at >= rows : at + TILE <= 0) break;
        const vfloat factor = v_load_part(block->a + m * D, n);
        const float *b = block->b + at * D;
        if (at >= 0 && at + TILE <= rows) {
            for (int i = 0; i < TILE; i++) sum[i] += factor * v_load_part(b + i * D, n);
            continue;
        }
        for (int i = 0; i < TILE; i++)
            if (at + i >= 0 && at + i < rows) sum[i] += factor * v_load_part(b + i * D, n);
    }
}

/* rows outputs of the sums above, tile by tile. */
static void correlate(const Run *run, Block all, int64_t rows, int64_t side, GradientTarget to) {
    const int64_t tiles = (rows + TILE - 1) / TILE, blocks = (all.D + LANES - 1) / LANES;
#pragma omp parallel for num_threads(run->threads) schedule(static)
    for (int64_t unit = 0; unit < blocks * tiles; unit++) {
        const int64_t d = unit / tiles * LANES, first = unit % tiles * TILE;
        const Block block = {all.a + d, all.b + d, all.a_rows, all.b_rows, all.D};
        vfloat sum[TILE];
        if (all.D - d >= LANES)
            sum_tile(&block, first, side, LANES, sum);
        else
            sum_tile(&block, first, side, all.D - d, sum);
        for (int i = 0; i < TILE && first + i < rows; i++)
            v_deliver(to, (first + i) * all.D + d, sum[i], all.D - d);
    }
}

static void forward(const OpCall *call, const Run *run) {
    const int64_t N = extent(call->in[0], 0), D = extent(call->in[0], 1);
    const Block block = {call->in[0]->data, call->in[1]->data, N, N, D};
    correlate(run, block, extent(call->out[0], 0), 1, (GradientTarget){call->out[0]->data, false});
}

static void backward(const OpCall *call, const Run *run) {
    const int64_t N = extent(call->in[0], 0), D = extent(call->in[0], 1);
    const int64_t K = extent(call->out[0], 0);
    const GradientTarget to_B = gradient_target(call, 0), to_C = gradient_target(call, 1);
    const float *slope = call->out[0]->gradient;
    if (to_B.data) correlate(run, (Block){slope, call->in[1]->data, K, N, D}, N, 1, to_B);
    if (to_C.data) correlate(run, (Block){slope, call->in[0]->data, K, N, D}, N, -1, to_C);
}

const OpKernels ISA(shift_filter_cpu) = {forward, backward};
