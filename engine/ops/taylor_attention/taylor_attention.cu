/* The states first, then all tiles at once, a block each for 64 columns of the results. Bound by
 * the products: 4 F m operations a token and head with the states, 64 (d + m) with the pairs of a
 * tile, against 4 (2 d + 2 m) bytes and 8 F m / 64 for the states. */
#include "engine/ops/taylor_attention/taylor_attention.cuh"

__device__ static inline float weight_of(float s) {
    return (s * 0.5f + 1.0f) * s + 1.0f;
}

/* phi(q) z of all rows: a thread each. */
__device__ static inline void norms_of(const TaylorFeatures &phi, const float *z, float *to) {
    const int i = (int)threadIdx.x;
    if (i >= TILE) return;
    float sum = 0;
    for (int f = 0; f < phi.count; f++) sum += phi.at(i, f) * z[f];
    to[i] = sum;
}

/* Grid: (units tiles, tiles of m). */
template <class M> KERNEL void __launch_bounds__(THREADS) results(TaylorCall x) {
    __shared__ TaylorPairs pairs;
    __shared__ float norms[TILE];
    const ProductSpace<M, 1> space;
    const TaylorTile tile(x, blockIdx.x / x.plan.tiles, blockIdx.x % x.plan.tiles);
    const int c0 = (int)blockIdx.y * TILE;
    const MatrixRows q = tile.q();
    Sums sums = {};
    if (tile.reads()) {
        pairs.fill((int)x.plan.d);
        __syncthreads();
        const TaylorFeatures phi = query_features(tile, pairs);
        const MatrixRows S = tile.matrix(tile.state(x.states));
        norms_of(phi, S.from + x.plan.F * x.plan.m, norms);
        add_product<M, false, true>(
            sums, space, x.plan.F, [&](int i, int f) { return phi.at(i, f); },
            [&](int c, int f) { return S.at(f, c0 + c); });
    }
    RowSums rows = {};
    for (int64_t number = tile.first(); number <= tile.number; number++) {
        const TaylorTile other(x, tile.unit, number);
        const MatrixRows k = other.k(), v = other.v();
        const bool own = number == tile.number;
        Sums weights = {};
        add_product<M, false, false>(
            weights, space, x.plan.d, [&](int i, int a) { return q.at(i, a); },
            [&](int j, int a) { return k.at(j, a); });
        each_result(weights, [&](int i, int j, float &p) {
            p = own && j > i ? 0.0f : weight_of(p * x.plan.scale);
            rows.add(i, p);
        });
        __syncthreads(); /* the square before is read */
        store_square<M>(weights, space.square(0));
        add_square<M, true>(sums, space, 0, [&](int c, int j) { return v.at(j, c0 + c); });
    }
    float denominators[2] = {quad_sum(rows.of(0)), quad_sum(rows.of(1))};
    for (int r = 0; r < 2; r++) {
        const int i = first_row() + r * 8;
        denominators[r] += (tile.reads() ? norms[i] : 0.0f) + x.epsilon;
        if (x.denominators && c0 == 0 && threadIdx.x % QUAD == 0 && i < tile.count)
            x.denominators[tile.place(i)] = denominators[r];
    }
    float *const to = x.out + taylor_out(&x.plan, tile.b, tile.token, tile.h);
    each_result(sums, [&](int i, int c, float value) {
        if (i < tile.count && c0 + c < x.plan.m)
            to[i * x.plan.H * x.plan.m + c0 + c] = value / denominators[i != first_row()];
    });
}

/* u of every token and head: a warp each. */
static void norm_gradients(const Run *run, const TaylorCall &x) {
    const int64_t m = x.plan.m;
    const float *const out = x.out, *const dout = x.dout;
    float *const to = x.to_norm;
    for_each(run, x.plan.B * x.plan.L * x.plan.H * WARP, [=] __device__(int64_t at) {
        const int64_t row = at / WARP;
        float sum = 0;
        for (int64_t c = at % WARP; c < m; c += WARP) sum -= dout[row * m + c] * out[row * m + c];
        sum = warp_sum(sum);
        if (at % WARP == 0) to[row] = sum;
    });
}

/* 1 / N and u of a tile's tokens, in shared memory. */
struct TaylorSlopes {
    float inverse[TILE], to_norm[TILE];
    __device__ void load(const TaylorTile &tile) {
        const int i = (int)threadIdx.x;
        if (i >= TILE) return;
        const bool exists = i < tile.count;
        inverse[i] = exists ? 1.0f / tile.x.denominators[tile.place(i)] : 0.0f;
        to_norm[i] = exists ? tile.x.to_norm[tile.place(i)] : 0.0f;
    }
};

/* Gradients of a tile's queries or (KEYS) keys through the features: those of TILE features at a
 * time, then every thread adds what they hold for its channels of its row. */
enum { PITCH = TILE + 1, PARTS = THREADS / TILE };
struct Gathered {
    float features[TILE * PITCH], channels[TILE * PITCH];
};
template <class M, bool KEYS, class Space>
__device__ static inline void gather_features(const TaylorTile &tile, const Space &space,
                                              const TaylorPairs &pairs, const TaylorSlopes &slopes,
                                              Gathered &gathered) {
    const TaylorCall &x = tile.x;
    const int d = (int)x.plan.d, i = (int)threadIdx.x % TILE, part = (int)threadIdx.x / TILE;
    const TaylorFeatures own = KEYS ? key_features(tile, pairs) : query_features(tile, pairs);
    const MatrixRows rows = KEYS ? tile.v() : tile.results(x.dout);
    const MatrixRows S = tile.matrix(tile.state(KEYS ? x.dstates : x.states));
    const float *const z = S.from + x.plan.F * x.plan.m;
    float *const channels = gathered.channels + i * PITCH;
    for (int f0 = 0; f0 < x.plan.F; f0 += TILE) {
        Sums sums = {};
        add_product<M, false, false>(
            sums, space, x.plan.m, [&](int row, int c) { return rows.at(row, c); },
            [&](int f, int c) { return S.at(f0 + f, c); });
        each_result(sums, [&](int row, int f, float value) {
            const float norm = f0 + f < x.plan.F ? z[f0 + f] : 0.0f;
            gathered.features[row * PITCH + f] =
                KEYS ? value + norm : (value + norm * slopes.to_norm[row]) * slopes.inverse[row];
        });
        __syncthreads();
        for (int f = f0; i < tile.count && f < f0 + TILE && f < x.plan.F; f++) {
            const int a = pairs.first(f), b = pairs.second(f);
            const float g =
                gathered.features[i * PITCH + f - f0] * (a == b ? own.square : 1.0f) * own.scale;
            if (a < d && a % PARTS == part) channels[a] += g * own.channel(i, b);
            if (b < d && b % PARTS == part) channels[b] += g * own.channel(i, a);
        }
        __syncthreads();
    }
}

/* The gradient of q . k for a query i and a key j from their weight's s and from dO_i . V_j. */
__device__ static inline float pair_slope(const TaylorCall &x, const TaylorSlopes &slopes, int i,
                                          float s, float product) {
    return (product + slopes.to_norm[i]) * slopes.inverse[i] * (1.0f + s) * x.plan.scale;
}

/* Gradients of queries or keys. Grid: units tiles. */
template <class M, bool KEYS>
KERNEL void __launch_bounds__(THREADS) query_key_gradients(TaylorCall x) {
    __shared__ TaylorPairs pairs;
    __shared__ TaylorSlopes slopes;
    const ProductSpace<M, 1> space;
    Gathered &gathered =
        *reinterpret_cast<Gathered *>(space.start + ProductSpace<M, 1>::elements());
    const TaylorTile tile(x, blockIdx.x / x.plan.tiles, blockIdx.x % x.plan.tiles);
    const bool through = KEYS ? tile.adds() : tile.reads();
    if (through) {
        pairs.fill((int)x.plan.d);
        slopes.load(tile);
        for (int n = (int)threadIdx.x; n < TILE * PITCH; n += THREADS) gathered.channels[n] = 0;
        __syncthreads();
        gather_features<M, KEYS>(tile, space, pairs, slopes, gathered);
    }
    Sums sums = {};
    const int64_t first = KEYS ? tile.number : tile.first();
    const int64_t last = KEYS ? tile.last() : tile.number;
    for (int64_t number = first; number <= last; number++) {
        const TaylorTile other(x, tile.unit, number);
        const TaylorTile &queries = KEYS ? other : tile, &keys = KEYS ? tile : other;
        const MatrixRows own = KEYS ? keys.k() : queries.q(), met = KEYS ? queries.q() : keys.k();
        const MatrixRows own_wide = KEYS ? keys.v() : queries.results(x.dout);
        const MatrixRows met_wide = KEYS ? queries.results(x.dout) : keys.v();
        const bool same = number == tile.number;
        Sums products = {}, scores = {};
        __syncthreads();
        slopes.load(queries);
        add_product<M, false, false>(
            products, space, x.plan.d, [&](int row, int a) { return own.at(row, a); },
            [&](int column, int a) { return met.at(column, a); });
        add_product<M, false, false>(
            scores, space, x.plan.m, [&](int row, int c) { return own_wide.at(row, c); },
            [&](int column, int c) { return met_wide.at(column, c); });
        for (int t = 0; t < TILE / 8; t++)
            for (int e = 0; e < 4; e++) {
                const int row = first_row() + e / 2 * 8;
                const int column = t * 8 + (int)lane_column() + e % 2;
                const int i = KEYS ? column : row, j = KEYS ? row : column;
                const float s = products[t][e] * x.plan.scale;
                scores[t][e] = same && j > i ? 0.0f : pair_slope(x, slopes, i, s, scores[t][e]);
            }
        store_square<M>(scores, space.square(0));
        add_square<M, true>(sums, space, 0, [&](int a, int column) { return met.at(column, a); });
    }
    float *const to = x.dqkv + (KEYS ? taylor_k(&x.plan, tile.b, tile.token, tile.h)
                                     : taylor_q(&x.plan, tile.b, tile.token, tile.h));
    each_result(sums, [&](int row, int a, float value) {
        if (row >= tile.count || a >= x.plan.d) return;
        if (through) value += gathered.channels[row * PITCH + a];
        put(to + row * x.plan.row + a, value, x.add);
    });
}

/* Grid: (units tiles, tiles of m). */
template <class M> KERNEL void __launch_bounds__(THREADS) value_gradients(TaylorCall x) {
    __shared__ TaylorPairs pairs;
    __shared__ TaylorSlopes slopes;
    const ProductSpace<M, 1> space;
    const TaylorTile tile(x, blockIdx.x / x.plan.tiles, blockIdx.x % x.plan.tiles);
    const int c0 = (int)blockIdx.y * TILE;
    const MatrixRows k = tile.k();
    Sums sums = {};
    if (tile.adds()) {
        pairs.fill((int)x.plan.d);
        __syncthreads();
        const TaylorFeatures psi = key_features(tile, pairs);
        const MatrixRows S = tile.matrix(tile.state(x.dstates));
        add_product<M, false, true>(
            sums, space, x.plan.F, [&](int j, int f) { return psi.at(j, f); },
            [&](int c, int f) { return S.at(f, c0 + c); });
    }
    for (int64_t number = tile.number; number <= tile.last(); number++) {
        const TaylorTile other(x, tile.unit, number);
        const MatrixRows q = other.q(), dout = other.results(x.dout);
        const bool own = number == tile.number;
        Sums weights = {};
        __syncthreads();
        slopes.load(other);
        add_product<M, false, false>(
            weights, space, x.plan.d, [&](int j, int a) { return k.at(j, a); },
            [&](int i, int a) { return q.at(i, a); });
        each_result(weights, [&](int j, int i, float &p) {
            p = own && j > i ? 0.0f : weight_of(p * x.plan.scale) * slopes.inverse[i];
        });
        store_square<M>(weights, space.square(0));
        add_square<M, true>(sums, space, 0, [&](int c, int i) { return dout.at(i, c0 + c); });
    }
    float *const to = x.dqkv + taylor_v(&x.plan, tile.b, tile.token, tile.h) + c0;
    each_result(sums, [&](int j, int c, float value) {
        if (j < tile.count && c0 + c < x.plan.m) put(to + j * x.plan.row + c, value, x.add);
    });
}

static TaylorCall call_of(const OpCall *call) {
    TaylorCall x = {};
    x.plan = taylor_plan(call);
    x.epsilon = (float)static_cast<const TaylorAttention *>(call->attributes)->epsilon;
    x.qkv = call->in[TAYLOR_QKV]->data;
    x.out = call->out[0]->data;
    if (call->saves) x.denominators = call->saved[TAYLOR_SAVED_DENOMINATORS]->data;
    if (call->saves > TAYLOR_SAVED_STATES) x.states = call->saved[TAYLOR_SAVED_STATES]->data;
    return x;
}

static int64_t states_of(const TaylorPlan &plan) {
    return plan.pairs ? 0 : plan.B * plan.H * plan.tiles * plan.state;
}
static unsigned blocks_of(const TaylorPlan &plan) {
    return (unsigned)(plan.B * plan.H * plan.tiles);
}

static void forward(const OpCall *call, const Run *run) {
    TaylorCall x = call_of(call);
    Carver carver = {static_cast<unsigned char *>(call->scratch)};
    if (!x.states && !x.plan.pairs) x.states = carver.take<float>(states_of(x.plan));
    if (!x.plan.pairs)
        taylor_forward_states(run, x, data_of(call, TAYLOR_STATE),
                              x.plan.starts ? call->out[1]->data : NULL);
    const dim3 grid(blocks_of(x.plan), blocks_for(x.plan.m, TILE));
    with_products(run, [&]<class M>() {
        LAUNCH(run, results<M>, grid, THREADS, (ProductSpace<M, 1>::bytes()), x);
    });
}

static void backward(const OpCall *call, const Run *run) {
    TaylorCall x = call_of(call);
    Carver carver = {static_cast<unsigned char *>(call->scratch)};
    x.dout = call->out[0]->gradient;
    x.to_norm = carver.take<float>(x.plan.B * x.plan.L * x.plan.H);
    x.dstates = carver.take<float>(states_of(x.plan));
    x.dqkv = gradient_of(call, TAYLOR_QKV);
    x.add = call->accumulate[TAYLOR_QKV];
    norm_gradients(run, x);
    if (!x.plan.pairs)
        taylor_backward_states(run, x, x.plan.starts ? call->out[1]->gradient : NULL,
                               gradient_of(call, TAYLOR_STATE), call->accumulate[TAYLOR_STATE]);
    if (!x.dqkv) return;
    const unsigned blocks = blocks_of(x.plan);
    const dim3 grid(blocks, blocks_for(x.plan.m, TILE));
    with_products(run, [&]<class M>() {
        typedef ProductSpace<M, 1> Space;
        const size_t gathered = x.plan.pairs ? 0 : sizeof(Gathered);
        LAUNCH(run, (query_key_gradients<M, false>), blocks, THREADS, Space::bytes() + gathered, x);
        LAUNCH(run, (query_key_gradients<M, true>), blocks, THREADS, Space::bytes() + gathered, x);
        LAUNCH(run, value_gradients<M>, grid, THREADS, Space::bytes(), x);
    });
}

static size_t scratch(const OpCall *call, Phase phase) {
    const TaylorPlan plan = taylor_plan(call);
    const size_t states = carved(states_of(plan), sizeof(float));
    if (phase == PHASE_BACKWARD) return states + carved(plan.B * plan.L * plan.H, sizeof(float));
    return call->saves ? 0 : states;
}

CUDA_OP(taylor_attention, {forward, backward}, scratch);
