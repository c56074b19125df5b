/* Forward of one piece: a block owns some queries and walks over the keys with a running maximum
 * and sum; what earlier pieces have left is joined in the end. */
#include "engine/ops/pattern_attention/pattern_attention.cuh"

/* Scores of a warp's strip begin with its band: X = (Q + w) R^T, column c of row i for the key 15 -
 * i + c. x: the warp's own space. */
template <class M, int D, int KEYS>
__device__ __forceinline__ void
add_band(float (&s)[1][KEYS / 8][4], const SharedTile<typename M::Element, D> &q_tile, unsigned row,
         const SharedTile<typename M::Element, D> &r_tile, float *x) {
    constexpr int X_ROW = PatternShape<M, D>::X_ROW;
    const int line = (int)lane_row(), column = (int)lane_column();
    float band[1][(KEYS + ATTENTION_STRIP) / 8][4] = {};
    attention_scores<M, 1, KEYS + ATTENTION_STRIP>(band, q_tile, row, r_tile);
    __syncwarp(); /* the space may still be read from the last time */
#pragma unroll
    for (int n = 0; n < (KEYS + ATTENTION_STRIP) / 8; n++)
#pragma unroll
        for (int e = 0; e < 4; e++)
            x[(line + e / 2 * 8) * X_ROW + n * 8 + column + e % 2] = band[0][n][e];
    __syncwarp();
#pragma unroll
    for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
        for (int e = 0; e < 4; e++) {
            const int i = line + e / 2 * 8;
            s[0][n][e] += x[i * X_ROW + ATTENTION_STRIP - 1 - i + n * 8 + column + e % 2];
        }
}

template <int D>
__device__ __forceinline__ void finish_query(const PatternCall &x, const PatternPlace &place, int i,
                                             const float (&o)[D / 8][4], int r, float largest,
                                             float sum) {
    const float total = quad_sum(sum);
    const bool own = i < x.queries(place.list);
    const int64_t position = own ? x.query_position(place.list, i) : 0;
    float *const note = x.log_sum + (place.b * x.heads + place.h) * x.length + position;
    const float old = own && x.piece ? *note : -INFINITY;
    __syncwarp(); /* the lanes of a quad have read it */
    if (!own || (x.piece && !(total > 0))) return;
    const float now = total > 0 ? largest * x.scale * LOG2_E + log2f(total) : INFINITY;
    const float top = x.piece ? fmaxf(old, now) : now;
    const float before = x.piece ? fast_exp2(old - top) : 0.0f;
    const float weight = x.piece ? fast_exp2(now - top) : 1.0f;
    const float factor = total > 0 ? weight / total / (before + weight) : 0.0f;
    float *const to =
        x.out + (place.b * x.length + position) * x.heads * x.width + (int64_t)place.h * x.width;
    const int column = (int)lane_column();
#pragma unroll
    for (int n = 0; n < D / 8; n++)
#pragma unroll
        for (int e = 0; e < 2; e++) {
            const int c = n * 8 + column + e;
            if (c >= x.width) continue;
            const float kept = x.piece ? to[c] * (before / (before + weight)) : 0.0f;
            to[c] = kept + o[n][2 * r + e] * factor;
        }
    if (column == 0) *note = x.piece ? top + log2f(before + weight) : now;
}

template <class M, int D, bool RELATIVE>
KERNEL void __launch_bounds__(PatternShape<M, D>::THREADS)
    forward_piece(const PatternCall x, int tiles) {
    typedef PatternShape<M, D> S;
    typedef typename M::Element Element;
    typedef SharedTile<Element, D> Tile;
    constexpr int KEYS = S::MET, OWN = S::OWN;
    const Tile q_tile = {shared_memory<Element>()}, k_tile = {q_tile.start + OWN * D};
    const Tile v_tile = {k_tile.start + KEYS * D}, qw_tile = {v_tile.start + KEYS * D};
    const Tile r_tile = {qw_tile.start + OWN * D};
    const int warp = (int)(threadIdx.x / WARP), strip = warp * ATTENTION_STRIP;
    float *const band = reinterpret_cast<float *>(r_tile.start + S::BAND * D) + strip * S::X_ROW;
    const PatternPlace place(x, blockIdx.x, tiles, OWN);
    const int all = x.queries(place.list);
    if (place.first >= all) return;
    const int last = min(place.first + OWN, all) - 1, column = (int)lane_column();
    const int end = min(x.high(last), x.keys(place.list));
    const int begin = x.low(place.first) / KEYS * KEYS;
    const auto query = [&](int n) {
        return pattern_query(x, place, x.q, x.q_row, place.first + n);
    };
    const int64_t head = (int64_t)place.h * x.width;
    pattern_load<M, D, OWN>(x, q_tile, RELATIVE ? x.u + head : NULL, query);
    if (RELATIVE) pattern_load<M, D, OWN>(x, qw_tile, x.w + head, query);

    float o[1][D / 8][4] = {}, largest[2] = {-INFINITY, -INFINITY}, sum[2] = {};
    for (int key = begin; key < end; key += KEYS) {
        __syncthreads(); /* tiles are no longer read */
        pattern_load<M, D, KEYS>(x, k_tile, NULL,
                                 [&](int n) { return pattern_row(x, place, x.k, key + n); });
        pattern_load<M, D, KEYS>(x, v_tile, NULL,
                                 [&](int n) { return pattern_row(x, place, x.v, key + n); });
        if (RELATIVE)
            pattern_load<M, D, S::BAND>(x, r_tile, NULL, [&](int n) {
                return pattern_distance(x, place.h, place.first + OWN - 1 - key - n);
            });
        __syncthreads();
        float p[1][KEYS / 8][4] = {};
        attention_scores<M, 1, KEYS>(p, q_tile, (unsigned)strip, k_tile);
        if (RELATIVE) {
            const Tile own = {r_tile.start + (OWN - ATTENTION_STRIP - strip) * D};
            add_band<M, D, KEYS>(p, qw_tile, (unsigned)strip, own, band);
        }
#pragma unroll
        for (int r = 0; r < 2; r++) {
            const int i = place.first + strip + (int)lane_row() + r * 8;
            const int low = x.low(i) - key, high = (i < all ? min(x.high(i), end) : 0) - key;
#pragma unroll
            for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
                for (int e = 0; e < 2; e++) {
                    const int j = n * 8 + column + e;
                    if (j < low || j >= high) p[0][n][2 * r + e] = -INFINITY;
                }
            const float before = attention_weigh(p[0], r, x.scale * LOG2_E, largest[r], sum[r]);
#pragma unroll
            for (int n = 0; n < D / 8; n++) {
                o[0][n][2 * r] *= before;
                o[0][n][2 * r + 1] *= before;
            }
        }
        attention_sums<M, 1, KEYS>(o, p, v_tile);
    }
#pragma unroll
    for (int r = 0; r < 2; r++)
        finish_query<D>(x, place, place.first + strip + (int)lane_row() + r * 8, o[0], r,
                        largest[r], sum[r]);
}

void pattern_forward_piece(const Run *run, const PatternCall &x) {
    pattern_with(run, x.width, [&]<class M, int D>() {
        typedef PatternShape<M, D> S;
        const unsigned tiles = blocks_for(pattern_longest(x), S::OWN);
        const unsigned blocks = tiles * (unsigned)(x.batch * x.heads * x.lists);
        const size_t shared = (S::OWN + 2 * S::MET) * S::ROW_BYTES;
        if (x.r)
            LAUNCH(run, (forward_piece<M, D, true>), blocks, S::THREADS,
                   shared + (S::OWN + S::BAND) * S::ROW_BYTES + S::OWN * S::X_ROW * sizeof(float),
                   x, (int)tiles);
        else
            LAUNCH(run, (forward_piece<M, D, false>), blocks, S::THREADS, shared, x, (int)tiles);
    });
}
