/* The two kernels of linear attention. Every result of a chunk is
 *
 *     (triangle of X Y^T, weighted by decays) Z + decays X G
 *
 * with C rows of queries, keys, values or gradients for X, Y and Z, and for G the state before the
 * chunk or the gradient of the state behind it:
 *
 *            X       Y       Z       G                 triangle
 *     O      phi(Q)  phi(K)  V       S                 keys up to the query
 *     dQ     G_O     V       phi(K)  S^T               keys up to the query
 *     dK     V       G_O     phi(Q)  dS^T              queries from the key on
 *     dV     phi(K)  phi(Q)  G_O     dS                queries from the key on
 *
 * where G_O is dO over the denominator. What chunks add to S and dS are products over their tokens,
 * phi(K)^T V and phi(Q)^T G_O, which a pass over the chunks then turns into the states. A block of
 * four warps owns 64 x 64 results; operands come through shared memory in slabs of SLAB numbers of
 * depth, sums stay in registers. */
#ifndef LONGHAUL_OPS_LINEAR_ATTENTION_CUH
#define LONGHAUL_OPS_LINEAR_ATTENTION_CUH

#include "engine/cuda/chunk_decay.cuh"
#include "engine/cuda/quad.cuh"
#include "engine/cuda/tile_product.cuh"
#include "engine/ops/linear_attention/linear_attention_plan.h"

static_assert(TILE == LINEAR_CHUNK, "a tile has the tokens of a chunk");

/* Heads of a tensor as matrices: that of head h begins at start + h / group * width, rows (tokens)
 * are `row` apart. Its numbers are phi(x) scale factors[token, h] / divisors[token, h]. */
struct Part {
    const float *start = NULL;
    int64_t row = 0, width = 0, group = 1;
    FeatureMap feature = FEATURE_IDENTITY;
    float scale = 1;
    const float *divisors = NULL, *factors = NULL; /* (B, L, H) or NULL */
};

/* A chunk of one head of it; zero behind the last row and column. */
struct Rows {
    const float *start, *divisors, *factors;
    int64_t row, heads;
    int count, width;
    FeatureMap feature;
    float scale;

    __device__ float raw(int i, int c) const {
        return start[i * row + c];
    }
    __device__ float factor(int i) const {
        return factors && i < count ? factors[i * heads] : 1.0f;
    }
    __device__ float operator()(int i, int c) const {
        return plain(i, c) * factor(i);
    }
    __device__ float plain(int i, int c) const {
        if (i >= count || c >= width) return 0;
        float x = raw(i, c);
        if (feature == FEATURE_ELU)
            x = x > 0 ? x + 1 : expf(x);
        else if (feature == FEATURE_RELU)
            x = fmaxf(x, 0);
        return divisors ? x * scale / divisors[i * heads] : x * scale;
    }
    /* Derivative of phi(x) scale at (i, c). */
    __device__ float slope(int i, int c) const {
        const float x = raw(i, c);
        if (feature == FEATURE_ELU) return x > 0 ? scale : scale * expf(x);
        return feature == FEATURE_RELU && x <= 0 ? 0.0f : scale;
    }
};

/* What blocks of all launches share. keys: of the launch's rows only those that count, which are
 * tokens below lengths[b]. */
struct LinearCall {
    LinearPlan plan;
    bool causal, normalise;
    const int32_t *lengths;
    /* (B, H, chunks, 2, C): b in two parts, the second what rounding the first has lost; NULL: no
     * decays. */
    const float *sums;
};

/* Sequence, head (the first of a group), chunk and its first token. */
struct Chunk {
    int64_t b, h, chunk, token;
    int rows, keys;
};
__device__ static inline Chunk chunk_of(const LinearCall &x, int64_t heads, unsigned block) {
    Chunk at;
    at.chunk = block % x.plan.chunks;
    const int64_t head = block / x.plan.chunks;
    at.b = head / heads;
    at.h = head % heads * (x.plan.H / heads);
    at.token = at.chunk * TILE;
    const int64_t left = x.plan.L - at.token;
    at.rows = left < TILE ? (int)left : TILE;
    const int64_t keys = x.lengths ? x.lengths[at.b] - at.token : at.rows;
    at.keys = keys < 0 ? 0 : keys < at.rows ? (int)keys : at.rows;
    return at;
}
__device__ static inline Rows rows_of(const LinearCall &x, const Part &part, const Chunk &at,
                                      int64_t h, int count) {
    const int64_t token = at.b * x.plan.L + at.token;
    return {part.start + token * part.row + h / part.group * part.width,
            part.divisors ? part.divisors + token * x.plan.H + h : NULL,
            part.factors ? part.factors + token * x.plan.H + h : NULL,
            part.row,
            x.plan.H,
            count,
            (int)part.width,
            part.feature,
            part.scale};
}
/* Number of a chunk of a head, among all or among its states. */
__device__ static inline int64_t chunk_number(const LinearCall &x, const Chunk &at, int64_t h) {
    return (at.b * x.plan.H + h) * x.plan.chunks + at.chunk;
}
__device__ static inline int64_t note_number(const LinearCall &x, const Chunk &at, int64_t h) {
    return (at.b * x.plan.H + h) * x.plan.notes + (x.causal ? at.chunk : 0);
}

__device__ static inline ChunkDecays load_decays(const LinearCall &x, int64_t chunk, float *space) {
    return load_chunk_decays(x.sums, chunk, space);
}

/* One of the four products for all chunks. */
struct TilesCall {
    LinearCall call;
    Part x, y, z;
    const float *states; /* (B, H, notes, state) */
    bool turned;         /* G[k][n] = state[k m + n], otherwise state[n m + k] */
    bool later;          /* rows meet columns from themselves on */
    bool padded;         /* rows are keys: those that do not count are zero */
    int columns;         /* of the result */
    /* With normalise, (B, L, H): e, added to row i of the triangle before the decays (dQ), or to
     * column j (dK). */
    const float *e_rows, *e_columns;
    float *denominators; /* O: written, and results divided; NULL for gradients or none */
    float *dots;         /* (tiles, B, H, chunks, C): features . gradients, or NULL */
    const float *skip;   /* (H): added to the triangle's diagonal, or NULL */
    float *diagonal;     /* (B, H, chunks, C): that of dP, which is dQ's, or NULL */
    Part own;            /* dQ, dK: what the gradient's features are made of */
    float *to;           /* the result's first element, rows to_row apart; NULL: not wanted */
    int64_t to_row, to_group;
    bool add;
    int64_t heads; /* that a block does not loop over: G for dQ and dK, H for O and dV */
};

/* Shared memory of the kernel, in elements and floats. */
template <class M> struct TilesSpace {
    typename M::Element x[TILE * SLAB], y[TILE * SLAB], g[TILE * SLAB], z[TILE * TILE];
    float sums[2 * TILE], rows[TILE];
};

/* q . z of the row that two threads share, over a slab: half of its columns each. */
__device__ static inline float product_with_z(const Rows &x, const float *z, int slab) {
    const int row = (int)threadIdx.x / 2, first = slab + (int)threadIdx.x % 2 * (SLAB / 2);
    float sum = 0;
    for (int c = first; c < first + SLAB / 2 && c < x.width; c++) sum += x(row, c) * z[c];
    return sum;
}

/* The denominators' parts: sums of the triangle's rows, and what threads have of q . z. */
__device__ static inline void store_denominators(const LinearCall &x, float (&p)[TILE / 8][4],
                                                 const ChunkDecays &decays, float z_product,
                                                 float epsilon, float *rows) {
    z_product += across(z_product, 1);
    __syncthreads();
    const int own = (int)threadIdx.x / 2;
    if (threadIdx.x % 2 == 0) rows[own] = (x.causal ? decays.since(own) : 1) * z_product + epsilon;
    __syncthreads();
    const int row = (int)threadIdx.x / WARP * STRIP + (int)lane_row();
#pragma unroll
    for (int r = 0; r < 2; r++) {
        float sum = 0;
#pragma unroll
        for (int t = 0; t < TILE / 8; t++) sum += p[t][2 * r] + p[t][2 * r + 1];
        sum = quad_sum(sum);
        if (threadIdx.x % 4 == 0) rows[row + r * 8] += sum;
    }
    __syncthreads();
}

typedef float Results[TILE / 8][4]; /* of a lane */

/* A block's place in its launch, and one of the heads that it adds up. */
struct Tile {
    Chunk at;
    int first, count; /* column; rows that are not zero */
    int64_t h, token; /* token: of the head's numbers in (B, L, H) */
    const float *state;
    ChunkDecays decays;
};

/* A slab of the state, or of its gradient: row n, column k are column first + n and row slab + k of
 * what X is multiplied by. */
template <class M>
__device__ __forceinline__ void load_state(const TilesCall &t, const Tile &tile, int slab,
                                           const SharedTile<typename M::Element, SLAB> &to) {
    const int m = (int)t.call.plan.m, depths = (int)t.x.width;
    const auto of = [&](int n, int k) {
        const int column = tile.first + n, depth = slab + k;
        if (column >= t.columns || depth >= depths) return 0.0f;
        return tile.state[t.turned ? depth * m + column : column * m + depth];
    };
    if (t.turned)
        fill<M, SLAB, true>(to, of);
    else
        fill<M, SLAB, false>(to, of);
}

/* X G, so far without what belongs to z, as it stands at the rows' own tokens. */
__device__ __forceinline__ void decay_rows(const TilesCall &t, const Tile &tile, Results &c) {
    const LinearPlan &plan = t.call.plan;
    const float *const norms = t.e_rows || t.e_columns ? tile.state + plan.d * plan.m : NULL;
    each_result(c, [&](int i, int j, float &value) {
        if (norms && tile.first + j < t.columns && i < tile.count)
            value += norms[tile.first + j] * (t.e_rows ? t.e_rows[tile.token + i * plan.H] : 1.0f);
        if (t.call.sums) value *= t.later ? tile.decays.before(i) : tile.decays.since(i);
    });
}

/* X Y^T becomes the triangle of weights. */
__device__ __forceinline__ void weigh(const TilesCall &t, const Tile &tile, Results &p) {
    const int64_t H = t.call.plan.H;
    each_result(p, [&](int i, int j, float &value) {
        if (t.e_rows && i < tile.count) value += t.e_rows[tile.token + i * H];
        if (t.e_columns && j < tile.at.rows) value += t.e_columns[tile.token + j * H];
        const bool seen = t.later ? j >= i : j <= i;
        const ChunkDecays &decays = tile.decays;
        value = !seen ? 0 : value * (t.later ? decays.between(i, j) : decays.between(j, i));
        if (i != j) return;
        if (t.skip) value += t.skip[tile.h];
        if (t.diagonal && blockIdx.y == 0)
            t.diagonal[chunk_number(t.call, tile.at, tile.h) * TILE + i] = value;
    });
}

/* c += P Z. */
template <class M>
__device__ __forceinline__ void add_triangle(Results &c, const Results &p,
                                             const SharedTile<typename M::Element, TILE> &z) {
#pragma unroll
    for (int s = 0; s < TILE / M::DEPTH; s++) {
        typename M::A a;
        M::from_sums(a, p + s * (M::DEPTH / 8));
#pragma unroll
        for (int n = 0; n < TILE / 16; n++) {
            typename M::B b;
            M::load_b_columns(b, z, s * M::DEPTH, n * 16);
            M::multiply(c[2 * n], c[2 * n + 1], a, b);
        }
    }
}

/* Sums over the tile's columns of features, without their factors, times gradients. */
__device__ __forceinline__ void store_dots(const TilesCall &t, const Tile &tile, Results &c) {
    const LinearPlan &plan = t.call.plan;
    const Rows own = rows_of(t.call, t.own, tile.at, tile.h, tile.count);
    const int row = (int)threadIdx.x / WARP * STRIP + (int)lane_row();
    const int64_t chunk = chunk_number(t.call, tile.at, tile.h);
    float *const to = t.dots + (blockIdx.y * plan.B * plan.H * plan.chunks + chunk) * TILE;
    float sums[2] = {};
    each_result(c, [&](int i, int j, float &value) {
        sums[i != row] += own.plain(i, tile.first + j) * value;
    });
    for (int r = 0; r < 2; r++) {
        const float sum = quad_sum(sums[r]);
        if (threadIdx.x % 4 == 0) to[row + r * 8] = sum;
    }
}

/* The results over their denominators, or times the features' derivatives. */
__device__ __forceinline__ void write_results(const TilesCall &t, const Tile &tile, Results &total,
                                              const float *denominators) {
    const Chunk &at = tile.at;
    const Rows own = rows_of(t.call, t.own, at, at.h, tile.count);
    float *const to = t.to + (at.b * t.call.plan.L + at.token) * t.to_row +
                      at.h / t.to_group * t.columns + tile.first;
    each_result(total, [&](int i, int j, float &value) {
        if (i >= at.rows || tile.first + j >= t.columns) return;
        float result = value;
        if (t.denominators) result /= denominators[i];
        if (t.own.start) result = i < tile.count ? result * own.slope(i, tile.first + j) : 0.0f;
        put(to + i * t.to_row + j, result, t.add);
    });
}

/* Grid: (B heads chunks, tiles of columns). */
template <class M>
KERNEL void __launch_bounds__(THREADS) linear_tiles(const TilesCall t, float epsilon) {
    typedef SharedTile<typename M::Element, SLAB> Slab;
    typedef SharedTile<typename M::Element, TILE> Whole;
    const LinearCall &x = t.call;
    TilesSpace<M> *const space = shared_memory<TilesSpace<M>>();
    const Slab x_tile = {space->x}, y_tile = {space->y}, g_tile = {space->g};
    const Whole z_tile = {space->z};
    Tile tile = {chunk_of(x, t.heads, blockIdx.x), (int)blockIdx.y * TILE};
    const Chunk &at = tile.at;
    tile.count = t.padded ? at.keys : at.rows;
    const int64_t group = x.plan.H / t.heads;
    Results total = {};
    for (int64_t h = at.h; h < at.h + group; h++) {
        tile.h = h;
        tile.token = (at.b * x.plan.L + at.token) * x.plan.H + h;
        tile.state = t.states + note_number(x, at, h) * x.plan.state;
        tile.decays = load_decays(x, chunk_number(x, at, h), space->sums);
        const Rows rows = rows_of(x, t.x, at, h, tile.count);
        const Rows columns = rows_of(x, t.y, at, h, at.rows), z = rows_of(x, t.z, at, h, at.rows);
        Results p = {}, c = {};
        float z_product = 0;
        if (x.causal)
            fill<M, TILE, false>(z_tile, [&](int i, int j) { return z(i, tile.first + j); });
        for (int slab = 0; slab < rows.width; slab += SLAB) {
            fill<M, SLAB, false>(x_tile, [&](int i, int k) { return rows(i, slab + k); });
            if (x.causal)
                fill<M, SLAB, false>(y_tile, [&](int j, int k) { return columns(j, slab + k); });
            load_state<M>(t, tile, slab, g_tile);
            if (t.denominators)
                z_product += product_with_z(rows, tile.state + x.plan.d * x.plan.m, slab);
            __syncthreads();
            multiply_slab<M>(c, x_tile, g_tile);
            if (x.causal) multiply_slab<M>(p, x_tile, y_tile);
            __syncthreads();
        }
        decay_rows(t, tile, c);
        weigh(t, tile, p);
        if (t.denominators) store_denominators(x, p, tile.decays, z_product, epsilon, space->rows);
        if (x.causal) add_triangle<M>(c, p, z_tile);
        if (t.dots) store_dots(t, tile, c);
        const Rows own = rows_of(x, t.own, at, h, tile.count);
        const int row = (int)threadIdx.x / WARP * STRIP + (int)lane_row();
        const float factors[2] = {own.factor(row), own.factor(row + 8)};
#pragma unroll
        for (int i = 0; i < TILE / 8; i++)
#pragma unroll
            for (int e = 0; e < 4; e++) total[i][e] += c[i][e] * factors[e / 2];
        __syncthreads(); /* the tile of Z and the decays are the next head's */
    }
    if (t.denominators && blockIdx.y == 0 && (int)threadIdx.x < at.rows)
        t.denominators[(at.b * x.plan.L + at.token + threadIdx.x) * x.plan.H + at.h] =
            space->rows[threadIdx.x];
    if (t.to) write_results(t, tile, total, space->rows);
}

/* What every chunk adds to a state: X^T Z over its tokens, and of X alone for z. X is weighted by
 * what the decays leave of it at the end of the chunk, or (since) at the gradient of the state
 * before it. */
struct SumsCall {
    LinearCall call;
    Part x, z;
    bool since, padded;
    const float *e; /* (B, L, H): weights of X in z, or NULL for one */
    float *to;      /* (B, H, chunks, state) */
};

/* Grid: (B H chunks, tiles of d, tiles of m). */
template <class M> KERNEL void __launch_bounds__(THREADS) linear_sums(const SumsCall t) {
    typedef SharedTile<typename M::Element, SLAB> Slab;
    const LinearCall &x = t.call;
    TilesSpace<M> *const space = shared_memory<TilesSpace<M>>();
    const Slab x_tile = {space->x}, y_tile = {space->y};
    const Chunk at = chunk_of(x, x.plan.H, blockIdx.x);
    const int row = (int)blockIdx.y * TILE, column = (int)blockIdx.z * TILE;
    const int d = (int)x.plan.d, m = (int)x.plan.m, count = t.padded ? at.keys : at.rows;
    const Rows a = rows_of(x, t.x, at, at.h, count), b = rows_of(x, t.z, at, at.h, count);
    const ChunkDecays decays = load_decays(x, chunk_number(x, at, at.h), space->sums);
    float *const to = t.to + chunk_number(x, at, at.h) * x.plan.state;
    float c[TILE / 8][4] = {};
    __syncthreads();
    const auto weighted = [&](int i, int token) {
        return a(token, row + i) * (t.since ? decays.since(token) : decays.before(token));
    };
    for (int token = 0; token < TILE; token += SLAB) {
        fill<M, SLAB, true>(x_tile, [&](int i, int k) { return weighted(i, token + k); });
        fill<M, SLAB, true>(y_tile, [&](int n, int k) { return b(token + k, column + n); });
        __syncthreads();
        multiply_slab<M>(c, x_tile, y_tile);
        __syncthreads();
    }
    each_result(c, [&](int i, int j, float &value) {
        if (row + i < d && column + j < m) to[(row + i) * m + column + j] = value;
    });
    const int own = (int)threadIdx.x;
    if (!x.normalise || column > 0 || own >= TILE || row + own >= d) return;
    const int64_t first = (at.b * x.plan.L + at.token) * x.plan.H + at.h;
    float sum = 0;
    for (int token = 0; token < count; token++)
        sum += weighted(own, token) * (t.e ? t.e[first + token * x.plan.H] : 1.0f);
    to[d * m + row + own] = sum;
}

#endif
