/* The states between chunks, and their gradients: every chunk's addition by a product of its own,
 * then one pass along the chunks for each number of a state. */
#include "engine/ops/taylor_attention/taylor_attention.cuh"

/* Rows f0 .. of psi(k)^T V of a chunk and of the sums of psi(k), or of phi(q)^T (dO / N) and the
 * sums of phi(q) u / N. Grid: (units tiles, tiles of F, tiles of m). */
template <class M, bool BACK> KERNEL void __launch_bounds__(THREADS) chunk_sums(TaylorCall x) {
    __shared__ TaylorPairs pairs;
    __shared__ float factors[TILE], norms[TILE];
    const ProductSpace<M, 0> space;
    const TaylorTile tile(x, blockIdx.x / x.plan.tiles, blockIdx.x % x.plan.tiles);
    const int f0 = (int)blockIdx.y * TILE, c0 = (int)blockIdx.z * TILE;
    pairs.fill((int)x.plan.d);
    if (threadIdx.x < TILE) {
        const int i = (int)threadIdx.x;
        const bool exists = i < tile.count;
        factors[i] = !exists ? 0.0f : BACK ? 1.0f / x.denominators[tile.place(i)] : 1.0f;
        norms[i] = !exists ? 0.0f : BACK ? factors[i] * x.to_norm[tile.place(i)] : 1.0f;
    }
    __syncthreads();
    const TaylorFeatures features = BACK ? query_features(tile, pairs) : key_features(tile, pairs);
    const MatrixRows values = BACK ? tile.results(x.dout) : tile.v();
    float *const to = tile.state(BACK ? x.dstates : x.states);
    Sums sums = {};
    add_product<M, true, true>(
        sums, space, tile.count, [&](int f, int t) { return features.at(t, f0 + f); },
        [&](int c, int t) { return values.at(t, c0 + c) * factors[t]; });
    each_result(sums, [&](int f, int c, float sum) {
        if (f0 + f < x.plan.F && c0 + c < x.plan.m) to[(f0 + f) * x.plan.m + c0 + c] = sum;
    });
    const int own = (int)threadIdx.x;
    if (c0 != 0 || own >= TILE || f0 + own >= x.plan.F) return;
    float sum = 0;
    for (int t = 0; t < tile.count; t++) sum += features.at(t, f0 + own) * norms[t];
    to[x.plan.F * x.plan.m + f0 + own] = sum;
}

/* Additions become the sums before (or with BACK behind) each chunk. */
template <bool BACK>
static void run_along(const Run *run, const TaylorCall &x, float *states, const float *start,
                      float *end, bool add_end) {
    const int64_t tiles = x.plan.tiles, size = x.plan.state;
    const Divisor of_state = divide_by(size);
    for_each(run, x.plan.B * x.plan.H * size, [=] __device__(int64_t i) {
        const int64_t unit = of_state.of(i);
        float *const own = states + unit * tiles * size + (i - unit * size);
        float sum = start ? start[i] : 0;
        for (int64_t n = 0; n < tiles; n++) {
            const int64_t tile = BACK ? tiles - 1 - n : n;
            const float more = own[tile * size];
            own[tile * size] = sum;
            sum += more;
        }
        if (end) put(end + i, sum, add_end);
    });
}

template <bool BACK> static void add_up(const Run *run, const TaylorCall &x) {
    const dim3 grid((unsigned)(x.plan.B * x.plan.H * x.plan.tiles), blocks_for(x.plan.F, TILE),
                    blocks_for(x.plan.m, TILE));
    with_products(run, [&]<class M>() {
        LAUNCH(run, (chunk_sums<M, BACK>), grid, THREADS, (ProductSpace<M, 0>::bytes()), x);
    });
}

void taylor_forward_states(const Run *run, const TaylorCall &x, const float *start, float *end) {
    add_up<false>(run, x);
    run_along<false>(run, x, x.states, start, end, false);
}

void taylor_backward_states(const Run *run, const TaylorCall &x, const float *start, float *end,
                            bool add_end) {
    add_up<true>(run, x);
    run_along<true>(run, x, x.dstates, start, end, add_end);
}
