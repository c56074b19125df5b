/* dQ of one piece, and with relative scores what r, u and w take: a block owns some queries and
 * walks over the keys once more, weights made again from the saved log-sum-exp of all pieces: P =
 * exp2(S - log_sum)    dS = P (dO V^T - delta)    dQ = scale (dS K + dX R) dR = scale dX^T (Q + w)
 * du = scale sum dS K    dw = scale sum dX R dX is dS with distances in the columns. With relative
 * scores a block takes several tiles of queries, one after the other, and adds what they give to
 * sums of its own. */
#include "engine/ops/pattern_attention/pattern_attention.cuh"

/* A block's tiles in shared memory, and its queries. */
template <class M, int D, bool RELATIVE> struct QueryBlock {
    typedef PatternShape<M, D> S;
    typedef typename M::Element Element;
    typedef SharedTile<Element, D> Tile;
    static constexpr int KEYS = S::MET, OWN = S::OWN, X_ROW = OWN + 4;
    static constexpr size_t SHARED =
        (size_t)(2 * OWN + 2 * KEYS) * S::ROW_BYTES +
        (RELATIVE ? (size_t)(OWN + S::BAND) * S::ROW_BYTES + (size_t)S::BAND * X_ROW * 4 : 0);
    Tile q, g, k, v, qw, r;
    float *band; /* X^T, then dX^T: distances by queries */
    int strip;   /* the warp's first query */

    __device__ QueryBlock() {
        q = {shared_memory<Element>()};
        g = {q.start + OWN * D};
        k = {g.start + OWN * D};
        v = {k.start + KEYS * D};
        qw = {v.start + KEYS * D};
        r = {qw.start + OWN * D};
        band = reinterpret_cast<float *>(r.start + S::BAND * D);
        strip = (int)(threadIdx.x / WARP) * ATTENTION_STRIP;
    }
    /* The part of R that the warp's queries meet, and its first row. */
    __device__ int first_distance() const {
        return OWN - ATTENTION_STRIP - strip;
    }
    __device__ Tile own_distances() const {
        return {r.start + first_distance() * D};
    }

    __device__ void load_queries(const PatternCall &x, const PatternPlace &place) const {
        const int64_t head = (int64_t)place.h * x.width;
        const auto query = [&](int n) {
            return pattern_query(x, place, x.q, x.q_row, place.first + n);
        };
        pattern_load<M, D, OWN>(x, q, RELATIVE ? x.u + head : NULL, query);
        if (RELATIVE) pattern_load<M, D, OWN>(x, qw, x.w + head, query);
        pattern_load<M, D, OWN>(x, g, NULL, [&](int n) {
            return pattern_query(x, place, x.g, (int64_t)x.heads * x.width, place.first + n);
        });
    }
    __device__ void load_keys(const PatternCall &x, const PatternPlace &place, int key) const {
        pattern_load<M, D, KEYS>(x, k, NULL,
                                 [&](int n) { return pattern_row(x, place, x.k, key + n); });
        pattern_load<M, D, KEYS>(x, v, NULL,
                                 [&](int n) { return pattern_row(x, place, x.v, key + n); });
        if (RELATIVE)
            pattern_load<M, D, S::BAND>(x, r, NULL, [&](int n) {
                return pattern_distance(x, place.h, place.first + OWN - 1 - key - n);
            });
    }

    /* What the warp's scores begin with. Each warp writes and reads columns of its own. */
    __device__ void begin(float (&p)[1][KEYS / 8][4]) const {
        const int row = (int)lane_row(), column = (int)lane_column();
        float x[1][(KEYS + ATTENTION_STRIP) / 8][4] = {};
        attention_scores<M, 1, KEYS + ATTENTION_STRIP>(x, qw, (unsigned)strip, own_distances());
#pragma unroll
        for (int n = 0; n < (KEYS + ATTENTION_STRIP) / 8; n++)
#pragma unroll
            for (int e = 0; e < 4; e++)
                band[(first_distance() + n * 8 + column + e % 2) * X_ROW + strip + row +
                     e / 2 * 8] = x[0][n][e];
        __syncwarp();
#pragma unroll
        for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
            for (int e = 0; e < 4; e++) {
                const int i = strip + row + e / 2 * 8;
                p[0][n][e] += band[(OWN - 1 - i + n * 8 + column + e % 2) * X_ROW + i];
            }
        __syncwarp();
    }
    /* dX^T of the warp's columns. */
    __device__ void spread(const float (&ds)[1][KEYS / 8][4]) const {
        const int row = (int)lane_row(), column = (int)lane_column();
        for (int n = (int)(threadIdx.x % WARP); n < S::BAND * ATTENTION_STRIP; n += WARP)
            band[n / ATTENTION_STRIP * X_ROW + strip + n % ATTENTION_STRIP] = 0;
        __syncwarp();
#pragma unroll
        for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
            for (int e = 0; e < 4; e++) {
                const int i = strip + row + e / 2 * 8;
                band[(OWN - 1 - i + n * 8 + column + e % 2) * X_ROW + i] = ds[0][n][e];
            }
        __syncwarp();
    }
    /* dQ += dX R for the warp's queries. */
    __device__ void add_distances(float (&dq)[1][D / 8][4]) const {
        const int row = (int)lane_row(), column = (int)lane_column();
        float x[1][(KEYS + ATTENTION_STRIP) / 8][4];
#pragma unroll
        for (int n = 0; n < (KEYS + ATTENTION_STRIP) / 8; n++)
#pragma unroll
            for (int e = 0; e < 4; e++)
                x[0][n][e] = band[(first_distance() + n * 8 + column + e % 2) * X_ROW + strip +
                                  row + e / 2 * 8];
        attention_sums<M, 1, KEYS + ATTENTION_STRIP>(dq, x, own_distances());
    }
    /* dR += dX^T (Q + w), rows of distances shared out to the warps. sums: row 0 is distance 0. */
    __device__ void add_to_distances(const PatternCall &x, int top, float *sums) const {
        const int row = (int)lane_row(), column = (int)lane_column();
        for (int c = strip; c < S::BAND; c += OWN) {
            float dx[1][OWN / 8][4], dr[1][D / 8][4] = {};
#pragma unroll
            for (int n = 0; n < OWN / 8; n++)
#pragma unroll
                for (int e = 0; e < 4; e++)
                    dx[0][n][e] = band[(c + row + e / 2 * 8) * X_ROW + n * 8 + column + e % 2];
            attention_sums<M, 1, OWN>(dr, dx, qw);
#pragma unroll
            for (int half = 0; half < 2; half++) {
                const int t = top - (c + row + half * 8);
                if (t < 0 || t >= x.distances) continue;
#pragma unroll
                for (int n = 0; n < D / 8; n++)
                    attention_put(sums + (int64_t)t * x.width, n * 8 + column, x.width,
                                  dr[0][n][2 * half] * x.scale, dr[0][n][2 * half + 1] * x.scale,
                                  true);
            }
        }
    }
};

/* dS of the warp's queries and the keys from `key` on; p holds scores before and is no longer
 * needed. */
template <int KEYS>
__device__ __forceinline__ void make_dscores(const PatternCall &x, const PatternPlace &place,
                                             int first, int key, const float (&p)[KEYS / 8][4],
                                             float (&ds)[KEYS / 8][4]) {
    const int column = (int)lane_column(), all = x.queries(place.list);
    const int end = x.keys(place.list);
    const int64_t head = (place.b * x.heads + place.h) * x.length;
#pragma unroll
    for (int r = 0; r < 2; r++) {
        const int i = first + (int)lane_row() + r * 8;
        const bool own = i < all;
        const int low = x.low(i) - key, high = (own ? min(x.high(i), end) : 0) - key;
        const int64_t line = head + (own ? x.query_position(place.list, i) : 0);
        const float log_sum = own ? x.log_sum[line] : INFINITY, delta = own ? x.delta[line] : 0;
#pragma unroll
        for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
            for (int e = 0; e < 2; e++) {
                const int j = n * 8 + column + e;
                const float weight = j >= low && j < high
                                         ? fast_exp2(p[n][2 * r + e] * x.scale * LOG2_E - log_sum)
                                         : 0.0f;
                ds[n][2 * r + e] = weight * (ds[n][2 * r + e] - delta);
            }
    }
}

/* Columns' sums of a warp's strip, added to sum. */
template <int D>
__device__ static inline void add_columns(float (&sum)[D / 8][2], const float (&x)[D / 8][4]) {
#pragma unroll
    for (int n = 0; n < D / 8; n++)
#pragma unroll
        for (int e = 0; e < 2; e++) sum[n][e] += x[n][e] + x[n][e + 2];
}
template <int D>
__device__ static inline void write_columns(const PatternCall &x, float *to,
                                            const float (&sum)[D / 8][2]) {
#pragma unroll
    for (int n = 0; n < D / 8; n++)
#pragma unroll
        for (int e = 0; e < 2; e++) {
            const float total = column_sum(sum[n][e]);
            const int c = n * 8 + (int)lane_column() + e;
            if (lane_row() == 0 && c < x.width) to[c] += total * x.scale;
        }
}

template <class M, int D, bool RELATIVE>
KERNEL void __launch_bounds__(PatternShape<M, D>::THREADS)
    query_gradient(const PatternCall x, int tiles, int slots) {
    typedef PatternShape<M, D> S;
    constexpr int KEYS = S::MET, OWN = S::OWN;
    const QueryBlock<M, D, RELATIVE> own;
    /* Blocks h, slot: of one head, tiles slot, slot + slots, ... of all sequences. Without relative
     * scores as many slots as there are tiles. */
    const int h = (int)(blockIdx.x / (unsigned)slots), slot = (int)(blockIdx.x % (unsigned)slots);
    float *const sums = x.sums + (int64_t)blockIdx.x * (x.distances + 2 * S::WARPS) * x.width;
    float du[D / 8][2] = {}, dw[D / 8][2] = {};
    for (int n = slot; n < tiles * x.lists * x.batch; n += slots) {
        const PatternPlace place(
            x,
            (((int64_t)n / (tiles * x.lists) * x.heads + h) * x.lists + n / tiles % x.lists) *
                    tiles +
                n % tiles,
            tiles, OWN);
        const int all = x.queries(place.list);
        if (place.first >= all) continue;
        const int last = min(place.first + OWN, all) - 1;
        const int end = min(x.high(last), x.keys(place.list));
        __syncthreads(); /* tiles of the last turn are no longer read */
        own.load_queries(x, place);
        float dq[1][D / 8][4] = {}, by_distance[1][D / 8][4] = {};
        for (int key = x.low(place.first) / KEYS * KEYS; key < end; key += KEYS) {
            __syncthreads();
            own.load_keys(x, place, key);
            __syncthreads();
            float p[1][KEYS / 8][4] = {}, ds[1][KEYS / 8][4] = {};
            attention_scores<M, 1, KEYS>(p, own.q, (unsigned)own.strip, own.k);
            attention_scores<M, 1, KEYS>(ds, own.g, (unsigned)own.strip, own.v);
            if (RELATIVE) own.begin(p);
            make_dscores<KEYS>(x, place, place.first + own.strip, key, p[0], ds[0]);
            attention_sums<M, 1, KEYS>(dq, ds, own.k);
            if (!RELATIVE) continue;
            own.spread(ds);
            own.add_distances(by_distance);
            __syncthreads(); /* dX of all warps is there */
            own.add_to_distances(x, place.first + OWN - 1 - key, sums);
        }
        if (RELATIVE) {
            add_columns<D>(du, dq[0]);
            add_columns<D>(dw, by_distance[0]);
        }
        if (!x.dq) continue;
#pragma unroll
        for (int r = 0; r < 2; r++) {
            const int i = place.first + own.strip + (int)lane_row() + r * 8;
            if (i >= all) continue;
            float *const to = x.dq +
                              (place.b * x.length + x.query_position(place.list, i)) * x.q_row +
                              (int64_t)place.h * x.width;
#pragma unroll
            for (int c = 0; c < D / 8; c++)
                attention_put(to, c * 8 + lane_column(), x.width,
                              (dq[0][c][2 * r] + by_distance[0][c][2 * r]) * x.scale,
                              (dq[0][c][2 * r + 1] + by_distance[0][c][2 * r + 1]) * x.scale,
                              x.add_q);
        }
    }
    if (RELATIVE) {
        float *const biases = sums + (int64_t)x.distances * x.width;
        const int warp = own.strip / ATTENTION_STRIP;
        write_columns<D>(x, biases + (int64_t)warp * x.width, du);
        write_columns<D>(x, biases + (int64_t)(S::WARPS + warp) * x.width, dw);
    }
}

void pattern_query_gradient(const Run *run, const PatternCall &x) {
    pattern_with(run, x.width, [&]<class M, int D>() {
        typedef PatternShape<M, D> S;
        const int tiles = (int)blocks_for(pattern_longest(x), S::OWN);
        const int slots = x.r ? x.slots : tiles * x.lists * x.batch;
        const unsigned blocks = (unsigned)(x.heads * slots);
        if (x.r)
            LAUNCH(run, (query_gradient<M, D, true>), blocks, S::THREADS,
                   (QueryBlock<M, D, true>::SHARED), x, tiles, slots);
        else
            LAUNCH(run, (query_gradient<M, D, false>), blocks, S::THREADS,
                   (QueryBlock<M, D, false>::SHARED), x, tiles, slots);
    });
}
