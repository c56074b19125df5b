/* Picking rows, and its transpose: a warp for each row of the result looks through the keys and
 * adds the rows that name it in their order, so that the sum is the same every time and nothing is
 * atomic. */
#ifndef LONGHAUL_CUDA_COLLECT_H
#define LONGHAUL_CUDA_COLLECT_H

#include "engine/cuda/elements.cuh"

/* to[row, c] = factor from[source(row), c] for `rows` rows of `width` floats. */
template <class Source>
void pick_rows(const Run *run, int64_t rows, int64_t width, const float *from, float factor,
               float *to, Source source) {
    const Divisor columns = divide_by(width);
    if (width % FOUR == 0)
        for_each_four(run, rows * width, [=] __device__(int64_t first) {
            const int64_t row = columns.of(first), c = first - row * columns.d;
            Four x = load<FOUR>(from + source(row) * columns.d + c);
            for (int e = 0; e < FOUR; e++) x.of[e] *= factor;
            store<FOUR>(to + first, x);
        });
    else
        for_each(run, rows * width, [=] __device__(int64_t i) {
            const int64_t row = columns.of(i);
            to[i] = factor * from[source(row) * columns.d + i - row * columns.d];
        });
}

enum {
    COLLECT_THREADS = 256,
    COLLECT_EACH = 8,
    COLLECT_KEYS = 16 /* loads in flight: it waits for them */
};

/* to[g, r] = or += factor sum of from[g, k] over the k with keys[g, k] == r: groups g of `keys`
 * keys and `rows` results, all rows of `width` floats. */
struct Collect {
    const int32_t *keys;
    int64_t groups, keys_each, rows_each, width;
    const float *from;
    float *to;
    float factor;
    bool accumulate;
};

template <int V> KERNEL void __launch_bounds__(COLLECT_THREADS) collect_rows(Collect x) {
    constexpr int COLUMNS = (int)COLLECT_EACH * (int)WARP * V;
    const int lane = (int)threadIdx.x % WARP;
    const int64_t chunks = (x.width + COLUMNS - 1) / COLUMNS, warp = global_thread() / WARP;
    const int64_t row = warp / chunks, group = row / x.rows_each, wanted = row % x.rows_each;
    if (group >= x.groups) return; /* whole warps */
    const int64_t column = warp % chunks * COLUMNS + lane * V, first = group * x.keys_each;
    Lanes<V> sum[COLLECT_EACH] = {};
    for (int64_t at = 0; at < x.keys_each; at += (int64_t)COLLECT_KEYS * WARP) {
        unsigned mine = 0; /* bit j: key j of this lane is the row */
#pragma unroll
        for (int j = 0; j < COLLECT_KEYS; j++) {
            const int64_t k = at + j * WARP + lane;
            mine |= (unsigned)(k < x.keys_each && x.keys[first + k] == wanted) << j;
        }
        if (__ballot_sync(0xFFFFFFFFu, mine != 0) == 0) continue;
#pragma unroll 1
        for (int j = 0; j < COLLECT_KEYS; j++)
            for (unsigned hits = __ballot_sync(0xFFFFFFFFu, mine >> j & 1); hits;
                 hits &= hits - 1) {
                const int64_t k = first + at + j * WARP + __ffs((int)hits) - 1;
#pragma unroll
                for (int e = 0; e < COLLECT_EACH; e++) {
                    const int64_t c = column + (int64_t)e * WARP * V;
                    if (c >= x.width) continue;
                    const Lanes<V> one = load<V>(x.from + k * x.width + c);
                    for (int v = 0; v < V; v++) sum[e].of[v] += one.of[v];
                }
            }
    }
#pragma unroll
    for (int e = 0; e < COLLECT_EACH; e++) {
        const int64_t c = column + (int64_t)e * WARP * V;
        if (c >= x.width) continue;
        float *const to = x.to + row * x.width + c;
        const Lanes<V> before = x.accumulate ? load<V>(to) : Lanes<V>{};
        for (int v = 0; v < V; v++) sum[e].of[v] = before.of[v] + x.factor * sum[e].of[v];
        store<V>(to, sum[e]);
    }
}

static inline void collect(const Run *run, const Collect &x) {
    const int v = x.width % 4 == 0 ? 4 : 1;
    const int64_t columns = (int64_t)COLLECT_EACH * WARP * v;
    const int64_t warps = x.groups * x.rows_each * ((x.width + columns - 1) / columns);
    const unsigned blocks = blocks_for(warps * WARP, COLLECT_THREADS);
    if (v == 4)
        LAUNCH(run, collect_rows<4>, blocks, COLLECT_THREADS, 0, x);
    else
        LAUNCH(run, collect_rows<1>, blocks, COLLECT_THREADS, 0, x);
}

#endif
