/* Backward, a warp for each row of the result looks through the positions and adds the rows that
 * name it in their order, so that the sum is the same every time and nothing is atomic. */
#include "engine/ops/gather_rows/gather_rows.h"

#include "engine/cuda/rows.cuh"

enum {
    THREADS = 256,
    EACH = 8,
    KEYS = 16 /* loads in flight: it waits for them */
};

/* to[g, r] = or += sum of from[g, k] over the k with keys[g, k] == r: groups g of `keys`
 * keys and `rows` results, all rows of `width` floats. */
struct Collect {
    const int32_t *keys;
    int64_t groups, keys_each, rows_each, width;
    const float *from;
    float *to;
    bool accumulate;
};

template <int V> KERNEL void __launch_bounds__(THREADS) collect_rows(Collect x) {
    constexpr int COLUMNS = (int)EACH * (int)WARP * V;
    const int lane = (int)threadIdx.x % WARP;
    const int64_t chunks = (x.width + COLUMNS - 1) / COLUMNS, warp = global_thread() / WARP;
    const int64_t row = warp / chunks, group = row / x.rows_each, wanted = row % x.rows_each;
    if (group >= x.groups) return; /* whole warps */
    const int64_t column = warp % chunks * COLUMNS + lane * V, first = group * x.keys_each;
    Lanes<V> sum[EACH] = {};
    for (int64_t at = 0; at < x.keys_each; at += (int64_t)KEYS * WARP) {
        unsigned mine = 0; /* bit j: key j of this lane is the row */
#pragma unroll
        for (int j = 0; j < KEYS; j++) {
            const int64_t k = at + j * WARP + lane;
            mine |= (unsigned)(k < x.keys_each && x.keys[first + k] == wanted) << j;
        }
        if (__ballot_sync(0xFFFFFFFFu, mine != 0) == 0) continue;
#pragma unroll 1
        for (int j = 0; j < KEYS; j++)
            for (unsigned hits = __ballot_sync(0xFFFFFFFFu, mine >> j & 1); hits;
                 hits &= hits - 1) {
                const int64_t k = first + at + j * WARP + __ffs((int)hits) - 1;
#pragma unroll
                for (int e = 0; e < EACH; e++) {
                    const int64_t c = column + (int64_t)e * WARP * V;
                    if (c >= x.width) continue;
                    const Lanes<V> one = load<V>(x.from + k * x.width + c);
                    for (int v = 0; v < V; v++) sum[e].of[v] += one.of[v];
                }
            }
    }
#pragma unroll
    for (int e = 0; e < EACH; e++) {
        const int64_t c = column + (int64_t)e * WARP * V;
        if (c >= x.width) continue;
        float *const to = x.to + row * x.width + c;
        const Lanes<V> before = x.accumulate ? load<V>(to) : Lanes<V>{};
        for (int v = 0; v < V; v++) sum[e].of[v] = before.of[v] + sum[e].of[v];
        store<V>(to, sum[e]);
    }
}

static inline void collect(const Run *run, const Collect &x) {
    const int v = x.width % 4 == 0 ? 4 : 1;
    const int64_t columns = (int64_t)EACH * WARP * v;
    const int64_t warps = x.groups * x.rows_each * ((x.width + columns - 1) / columns);
    const unsigned blocks = blocks_for(warps * WARP, THREADS);
    if (v == 4)
        LAUNCH(run, collect_rows<4>, blocks, THREADS, 0, x);
    else
        LAUNCH(run, collect_rows<1>, blocks, THREADS, 0, x);
}

static void forward(const OpCall *call, const Run *run) {
    const int32_t *positions = call->in[1]->integers;
    const int64_t length = extent(call->in[0], 1);
    const Divisor labels = divide_by(extent(call->in[1], 1));
    pick_rows(run, tensor_size(call->in[1]), extent(call->in[0], 2), call->in[0]->data, 1.0f,
              call->out[0]->data,
              [=] __device__(int64_t row) { return labels.of(row) * length + positions[row]; });
}

static void backward(const OpCall *call, const Run *run) {
    Collect x = {};
    x.to = gradient_of(call, 0);
    if (!x.to) return;
    x.keys = call->in[1]->integers;
    x.groups = extent(call->in[0], 0);
    x.keys_each = extent(call->in[1], 1);
    x.rows_each = extent(call->in[0], 1);
    x.width = extent(call->in[0], 2);
    x.from = call->out[0]->gradient;
    x.accumulate = call->accumulate[0];
    collect(run, x);
}

CUDA_OP(gather_rows, {forward, backward}, NULL);
