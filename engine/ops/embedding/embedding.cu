/* The gradient of the table in two steps, whatever the ids: filler ids may be most of a batch, and
 * most rows of a large table may not occur. Positions are cut into slices. First, a warp for each
 * position that is the first of several of its id in its slice adds the slice's rows of that id;
 * then a warp for each row of the table adds, of the slices in which it occurs, these sums or the
 * only row. The order is always the same and nothing is atomic. Bound by memory: the gradient read
 * once where ids differ, the table's written once. */
#include "engine/ops/embedding/embedding.h"

#include "engine/cuda/rows.cuh"

enum { THREADS = 256, SLICE = 256, MOST_SLICES = 128, IN_FLIGHT = 8 };

static int64_t slice_of(int64_t positions) {
    const int64_t even = (positions + MOST_SLICES - 1) / MOST_SLICES;
    return even > SLICE ? even : (int64_t)SLICE;
}

struct TableGradient {
    const int32_t *ids;
    int64_t positions, entries, width, slice, slices;
    const float *dy;
    float *sums;    /* (positions, width): at the first of several positions of an id in a slice */
    int32_t *first; /* (entries, slices): that position + positions; the only one; or -1 */
    float *table;
    float factor;
    bool accumulate;
};

/* Rows of EACH pieces of V floats a lane that are added in order; so many loads wait at once. Row
 * numbers from `positions` on are of the sums. */
template <int EACH, int V> struct RowSum {
    enum { TOGETHER = EACH < IN_FLIGHT ? IN_FLIGHT / EACH : 1 };
    Lanes<V> sum[EACH];
    const TableGradient &x;
    int64_t column;
    const float *waiting[TOGETHER];
    int count;

    __device__ RowSum(const TableGradient &of, int64_t c) : sum{}, x(of), column(c), count(0) {
    }
    __device__ void flush() {
        Lanes<V> part[TOGETHER][EACH];
#pragma unroll
        for (int i = 0; i < TOGETHER; i++)
#pragma unroll
            for (int e = 0; e < EACH; e++) {
                const int64_t c = column + (int64_t)e * (int)WARP * V;
                part[i][e] = Lanes<V>{};
                if (i < count && c < x.width) part[i][e] = load<V>(waiting[i] + c);
            }
#pragma unroll
        for (int i = 0; i < TOGETHER; i++)
#pragma unroll
            for (int e = 0; e < EACH; e++)
                for (int v = 0; v < V; v++) sum[e].of[v] += part[i][e].of[v];
        count = 0;
    }
    __device__ void add(int64_t row) {
        const float *const from =
            row < x.positions ? x.dy + row * x.width : x.sums + (row - x.positions) * x.width;
#pragma unroll
        for (int i = 0; i < TOGETHER; i++)
            if (i == count) waiting[i] = from; /* places of registers are constants */
        if (++count == TOGETHER) flush();
    }
    template <class Put> __device__ void finish(const Put &put_piece) {
        if (count) flush();
#pragma unroll
        for (int e = 0; e < EACH; e++) {
            const int64_t c = column + (int64_t)e * (int)WARP * V;
            if (c < x.width) put_piece(c, sum[e]);
        }
    }
};

template <int EACH, int V> KERNEL void __launch_bounds__(THREADS) slice_sums(TableGradient x) {
    const int lane = (int)threadIdx.x % WARP;
    const int64_t own = global_thread() / WARP;
    if (own >= x.positions) return; /* whole warps */
    const int32_t id = x.ids[own];
    const int64_t from = own / x.slice * x.slice, end = from + x.slice;
    const int64_t to = end < x.positions ? end : x.positions;
    bool several = false;
    for (int64_t at = from; at < to; at += WARP) {
        const int64_t k = at + lane;
        const bool same = k < to && k != own && x.ids[k < to ? k : own] == id;
        if (__ballot_sync(0xFFFFFFFFu, same && k < own)) return;
        several |= __ballot_sync(0xFFFFFFFFu, same) != 0;
    }
    if (lane == 0)
        x.first[id * x.slices + own / x.slice] = (int32_t)(several ? own + x.positions : own);
    if (!several) return;
    for (int64_t column = lane * V; column - lane * V < x.width; column += EACH * (int)WARP * V) {
        RowSum<EACH, V> rows(x, column);
        for (int64_t at = own; at < to; at += WARP) {
            const int64_t k = at + lane;
            for (unsigned hits =
                     __ballot_sync(0xFFFFFFFFu, k < to && x.ids[k < to ? k : own] == id);
                 hits; hits &= hits - 1)
                rows.add(at + __ffs((int)hits) - 1);
        }
        rows.finish(
            [&](int64_t c, const Lanes<V> &sum) { store<V>(x.sums + own * x.width + c, sum); });
    }
}

template <int EACH, int V> KERNEL void __launch_bounds__(THREADS) slice_totals(TableGradient x) {
    const int lane = (int)threadIdx.x % WARP;
    const int64_t id = global_thread() / WARP;
    if (id >= x.entries) return; /* whole warps */
    for (int64_t column = lane * V; column - lane * V < x.width; column += EACH * (int)WARP * V) {
        RowSum<EACH, V> rows(x, column);
        for (int64_t at = 0; at < x.slices; at += WARP) {
            const int64_t s = at + lane;
            const int32_t first = s < x.slices ? x.first[id * x.slices + s] : -1;
            for (unsigned hits = __ballot_sync(0xFFFFFFFFu, first >= 0); hits; hits &= hits - 1)
                rows.add(__shfl_sync(0xFFFFFFFFu, first, (unsigned)__ffs((int)hits) - 1));
        }
        rows.finish([&](int64_t c, Lanes<V> sum) {
            float *const to = x.table + id * x.width + c;
            const Lanes<V> before = x.accumulate ? load<V>(to) : Lanes<V>{};
            for (int v = 0; v < V; v++) sum.of[v] = before.of[v] + x.factor * sum.of[v];
            store<V>(to, sum);
        });
    }
}

static void forward(const OpCall *call, const Run *run) {
    const int32_t *ids = call->in[0]->integers;
    pick_rows(run, tensor_size(call->in[0]), extent(call->in[1], 1), call->in[1]->data,
              static_cast<const Embedding *>(call->attributes)->factor, call->out[0]->data,
              [=] __device__(int64_t row) { return (int64_t)ids[row]; });
}

template <int EACH, int V> static void launch(const Run *run, const TableGradient &x) {
    LAUNCH(run, (slice_sums<EACH, V>), blocks_for(x.positions * WARP, THREADS), THREADS, 0, x);
    LAUNCH(run, (slice_totals<EACH, V>), blocks_for(x.entries * WARP, THREADS), THREADS, 0, x);
}

static void backward(const OpCall *call, const Run *run) {
    TableGradient x = {};
    x.table = gradient_of(call, 1);
    if (!x.table) return;
    x.ids = call->in[0]->integers;
    x.positions = tensor_size(call->in[0]);
    x.entries = extent(call->in[1], 0);
    x.width = extent(call->in[1], 1);
    x.slice = slice_of(x.positions);
    x.slices = (x.positions + x.slice - 1) / x.slice;
    x.dy = call->out[0]->gradient;
    x.factor = static_cast<const Embedding *>(call->attributes)->factor;
    x.accumulate = call->accumulate[1];
    Carver carver = {static_cast<unsigned char *>(call->scratch)};
    x.sums = carver.take<float>(x.positions * x.width);
    x.first = carver.take<int32_t>(x.entries * x.slices);
    int32_t *const first = x.first;
    for_each(run, x.entries * x.slices, [=] __device__(int64_t i) { first[i] = -1; });
    if (x.width % 4 != 0)
        launch<2, 1>(run, x);
    else if (x.width <= 4 * WARP)
        launch<1, 4>(run, x);
    else
        launch<4, 4>(run, x);
}

static size_t scratch(const OpCall *call, Phase phase) {
    if (phase == PHASE_FORWARD) return 0;
    const int64_t positions = tensor_size(call->in[0]), slice = slice_of(positions);
    const int64_t slices = (positions + slice - 1) / slice;
    return carved(positions * extent(call->in[1], 1), sizeof(float)) +
           carved(extent(call->in[1], 0) * slices, sizeof(int32_t));
}

CUDA_OP(embedding, {forward, backward}, scratch);
