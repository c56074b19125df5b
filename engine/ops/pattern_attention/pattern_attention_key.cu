/* dK and dV of one piece: a block owns some keys and walks over the queries that see them. Scores
 * are made transposed, keys in the rows, so that weights are operands as they lie in the registers:
 *     P^T = exp2(S^T - log_sum)    dV = P^T dO    dS^T = P^T (V dO^T - delta)    dK = scale dS^T (Q
 * + u) */
#include "engine/ops/pattern_attention/pattern_attention.cuh"

template <class M, int D, bool RELATIVE> struct KeyBlock {
    typedef PatternShape<M, D> S;
    typedef typename M::Element Element;
    typedef SharedTile<Element, D> Tile;
    static constexpr int QUERIES = S::MET, OWN = S::OWN, X_ROW = QUERIES + 4;
    static constexpr size_t SHARED =
        (size_t)(2 * OWN + 2 * QUERIES) * S::ROW_BYTES +
        (RELATIVE ? (size_t)(QUERIES + S::BAND) * S::ROW_BYTES + (size_t)S::BAND * X_ROW * 4 : 0);
    Tile k, v, q, g, qw, r;
    float *band; /* X^T: distances, from the least on, by queries */
    int strip;   /* the warp's first key */

    __device__ KeyBlock() {
        k = {shared_memory<Element>()};
        v = {k.start + OWN * D};
        q = {v.start + OWN * D};
        g = {q.start + QUERIES * D};
        qw = {g.start + QUERIES * D};
        r = {qw.start + QUERIES * D};
        band = reinterpret_cast<float *>(r.start + S::BAND * D);
        strip = (int)(threadIdx.x / WARP) * ATTENTION_STRIP;
    }
    __device__ void load_queries(const PatternCall &x, const PatternPlace &place, int query) const {
        const int64_t head = (int64_t)place.h * x.width;
        const auto row = [&](int n) { return pattern_query(x, place, x.q, x.q_row, query + n); };
        pattern_load<M, D, QUERIES>(x, q, RELATIVE ? x.u + head : NULL, row);
        if (RELATIVE) pattern_load<M, D, QUERIES>(x, qw, x.w + head, row);
        pattern_load<M, D, QUERIES>(x, g, NULL, [&](int n) {
            return pattern_query(x, place, x.g, (int64_t)x.heads * x.width, query + n);
        });
        if (RELATIVE)
            pattern_load<M, D, S::BAND>(x, r, NULL, [&](int n) {
                return pattern_distance(x, place.h, query - (place.first + OWN - 1) + n);
            });
    }
    /* X^T of the tile, rows of distances shared out to the warps. */
    __device__ void make_band() const {
        const int row = (int)lane_row(), column = (int)lane_column();
        for (int c = strip; c < S::BAND; c += OWN) {
            float x[1][QUERIES / 8][4] = {};
            attention_scores<M, 1, QUERIES>(x, r, (unsigned)c, qw);
#pragma unroll
            for (int n = 0; n < QUERIES / 8; n++)
#pragma unroll
                for (int e = 0; e < 4; e++)
                    band[(c + row + e / 2 * 8) * X_ROW + n * 8 + column + e % 2] = x[0][n][e];
        }
    }
    __device__ void begin(float (&p)[1][QUERIES / 8][4]) const {
        const int row = (int)lane_row(), column = (int)lane_column();
#pragma unroll
        for (int n = 0; n < QUERIES / 8; n++)
#pragma unroll
            for (int e = 0; e < 4; e++) {
                const int j = strip + row + e / 2 * 8, i = n * 8 + column + e % 2;
                p[0][n][e] += band[(OWN - 1 - j + i) * X_ROW + i];
            }
    }
};

template <int QUERIES>
__device__ __forceinline__ void make_weights(const PatternCall &x, const PatternPlace &place,
                                             int first, int query, float (&p)[QUERIES / 8][4],
                                             float (&ds)[QUERIES / 8][4]) {
    const int all = x.queries(place.list), keys = x.keys(place.list);
    const int64_t head = (place.b * x.heads + place.h) * x.length;
#pragma unroll
    for (int n = 0; n < QUERIES / 8; n++)
#pragma unroll
        for (int c = 0; c < 2; c++) {
            const int i = query + n * 8 + (int)lane_column() + c;
            const bool there = i < all;
            const int low = x.low(i), high = there ? min(x.high(i), keys) : 0;
            const int64_t line = head + (there ? x.query_position(place.list, i) : 0);
            const float log_sum = there ? x.log_sum[line] : INFINITY;
            const float delta = there ? x.delta[line] : 0;
#pragma unroll
            for (int r = 0; r < 2; r++) {
                const int j = first + (int)lane_row() + r * 8, e = 2 * r + c;
                const float weight =
                    j >= low && j < high ? fast_exp2(p[n][e] * x.scale * LOG2_E - log_sum) : 0.0f;
                p[n][e] = weight;
                ds[n][e] = weight * (ds[n][e] - delta);
            }
        }
}

template <class M, int D, bool RELATIVE>
KERNEL void __launch_bounds__(PatternShape<M, D>::THREADS)
    key_gradient(const PatternCall x, int tiles) {
    typedef PatternShape<M, D> S;
    constexpr int QUERIES = S::MET, OWN = S::OWN;
    const KeyBlock<M, D, RELATIVE> own;
    const PatternPlace place(x, blockIdx.x, tiles, OWN);
    const int keys = x.keys(place.list);
    if (place.first >= keys) return;
    const int last = min(place.first + OWN, keys) - 1;
    const int end = x.end_query(place.list, last);
    pattern_load<M, D, OWN>(x, own.k, NULL,
                            [&](int n) { return pattern_row(x, place, x.k, place.first + n); });
    pattern_load<M, D, OWN>(x, own.v, NULL,
                            [&](int n) { return pattern_row(x, place, x.v, place.first + n); });
    float dk[1][D / 8][4] = {}, dv[1][D / 8][4] = {};
    for (int query = x.first_query(place.first); query < end; query += QUERIES) {
        __syncthreads(); /* tiles are no longer read */
        own.load_queries(x, place, query);
        __syncthreads();
        float p[1][QUERIES / 8][4] = {}, ds[1][QUERIES / 8][4] = {};
        attention_scores<M, 1, QUERIES>(p, own.k, (unsigned)own.strip, own.q);
        attention_scores<M, 1, QUERIES>(ds, own.v, (unsigned)own.strip, own.g);
        if (RELATIVE) {
            own.make_band();
            __syncthreads();
            own.begin(p);
        }
        make_weights<QUERIES>(x, place, place.first + own.strip, query, p[0], ds[0]);
        attention_sums<M, 1, QUERIES>(dv, p, own.g);
        attention_sums<M, 1, QUERIES>(dk, ds, own.q);
    }
#pragma unroll
    for (int r = 0; r < 2; r++) {
        const int j = place.first + own.strip + (int)lane_row() + r * 8;
        if (j >= keys) continue;
        const int64_t at = (place.b * x.length + x.key_position(place.list, place.h, j)) * x.k_row +
                           (int64_t)place.h * x.width;
#pragma unroll
        for (int n = 0; n < D / 8; n++) {
            const int c = n * 8 + (int)lane_column();
            attention_put(x.dk + at, c, x.width, dk[0][n][2 * r] * x.scale,
                          dk[0][n][2 * r + 1] * x.scale, x.add_k);
            attention_put(x.dv + at, c, x.width, dv[0][n][2 * r], dv[0][n][2 * r + 1], x.add_k);
        }
    }
}

void pattern_key_gradient(const Run *run, const PatternCall &x) {
    const int64_t keys = x.kind == PIECE_SUMMARIES ? (x.length - 1) / x.a.length * x.a.summaries
                                                   : pattern_longest(x);
    if (keys < 1) return;
    pattern_with(run, x.width, [&]<class M, int D>() {
        typedef PatternShape<M, D> S;
        const int tiles = (int)blocks_for(keys, S::OWN);
        const unsigned blocks = (unsigned)(tiles * x.batch * x.heads * x.lists);
        if (x.r)
            LAUNCH(run, (key_gradient<M, D, true>), blocks, S::THREADS,
                   (KeyBlock<M, D, true>::SHARED), x, tiles);
        else
            LAUNCH(run, (key_gradient<M, D, false>), blocks, S::THREADS,
                   (KeyBlock<M, D, false>::SHARED), x, tiles);
    });
}
