/* Forward: a block owns some queries of one head and walks over the keys with a running maximum and
 * sum (FlashAttention-2, algorithm 1). Scores, weights and the sums of P V stay in registers. */
#include "engine/ops/attention/attention.cuh"

template <class M, int D> struct ForwardShape {
    typedef typename M::Element Element;
    static constexpr int ROW_BYTES = D * (int)sizeof(Element);
    /* Strips of 16 queries a warp: two share what it reads of keys and values. */
    static constexpr int STRIPS = attention_on_tensor_cores<M> && ROW_BYTES <= 256 ? 2 : 1;
    static constexpr int ROWS = ATTENTION_WARPS * STRIPS * STRIP;
    static constexpr int KEYS = ROW_BYTES <= 128 ? 64 : 32;
    /* Queries, then two stages of keys and of values. */
    static constexpr int SHARED = (ROWS + 4 * KEYS) * ROW_BYTES;
};

template <class M, int D, bool DROP>
KERNEL void __launch_bounds__(ATTENTION_THREADS, 2) forward_tiles(const AttentionCall x) {
    typedef ForwardShape<M, D> S;
    typedef typename M::Element Element;
    typedef SharedTile<Element, D> Tile;
    constexpr int KEYS = S::KEYS, STRIPS = S::STRIPS, ROWS = S::ROWS;
    Element *const shared = shared_memory<Element>();
    const Tile q_tile = {shared};
    Element *const stages = shared + ROWS * D;
    const AttentionPlace place = attention_place(x, x.heads, (x.queries + ROWS - 1) / ROWS, true);
    const int64_t head = place.b * x.heads + place.h;
    const int64_t kv_head = place.b * x.kv_heads + place.h / x.group;
    const int first = place.tile * ROWS;
    const Element *const q =
        static_cast<const Element *>(x.q) + (head * x.padded_queries + first) * D;
    const Element *const k = static_cast<const Element *>(x.k) + kv_head * x.padded_keys * D;
    const Element *const v = static_cast<const Element *>(x.v) + kv_head * x.padded_keys * D;

    const int end = attention_end(x, place.b);
    const int last = first + ROWS < x.queries ? first + ROWS - 1 : x.queries - 1;
    const int block_end = attention_seen(x, end, last);
    /* this warp's queries, and what its last and its first one see */
    const int warp_first = first + (int)(threadIdx.x / WARP) * STRIPS * STRIP;
    const int warp_end =
        warp_first < x.queries ? attention_seen(x, end, warp_first + STRIPS * STRIP - 1) : 0;
    const int warp_full = attention_seen(x, end, warp_first);
    const int row = (int)lane_row(), column = (int)lane_column();
    const AttentionKeep keep(x.dropped);

    const auto fetch = [&](int stage, int key) {
        const Tile k_tile = {stages + stage * 2 * KEYS * D}, v_tile = {k_tile.start + KEYS * D};
        k_tile.template copy_rows<KEYS, ATTENTION_THREADS>(k + (int64_t)key * D);
        v_tile.template copy_rows<KEYS, ATTENTION_THREADS>(v + (int64_t)key * D);
    };
    if (block_end > 0) {
        q_tile.template copy_rows<ROWS, ATTENTION_THREADS>(q);
        fetch(0, 0);
    }
    copy_commit();

    float o[STRIPS][D / 8][4] = {}, largest[STRIPS][2], sum[STRIPS][2] = {};
#pragma unroll
    for (int m = 0; m < STRIPS; m++) largest[m][0] = largest[m][1] = -INFINITY;

    for (int key = 0, stage = 0; key < block_end; key += KEYS, stage ^= 1) {
        copy_wait<0>();
        __syncthreads(); /* the tile is here, and the other stage is no longer read */
        if (key + KEYS < block_end) fetch(stage ^ 1, key + KEYS);
        copy_commit();
        if (key >= warp_end) continue;
        const Tile k_tile = {stages + stage * 2 * KEYS * D}, v_tile = {k_tile.start + KEYS * D};

        float p[STRIPS][KEYS / 8][4] = {};
        attention_scores<M, STRIPS, KEYS>(p, q_tile, warp_first - first, k_tile);
        if (key + KEYS > warp_full) {
#pragma unroll
            for (int m = 0; m < STRIPS; m++)
#pragma unroll
                for (int r = 0; r < 2; r++) {
                    const int seen =
                        attention_seen(x, end, warp_first + m * STRIP + row + r * 8) - key;
#pragma unroll
                    for (int n = 0; n < KEYS / 8; n++) {
                        if (n * 8 + column >= seen) p[m][n][2 * r] = -INFINITY;
                        if (n * 8 + column + 1 >= seen) p[m][n][2 * r + 1] = -INFINITY;
                    }
                }
        }
#pragma unroll
        for (int m = 0; m < STRIPS; m++)
#pragma unroll
            for (int r = 0; r < 2; r++) {
                float top = largest[m][r];
#pragma unroll
                for (int n = 0; n < KEYS / 8; n++)
                    top = fmaxf(top, fmaxf(p[m][n][2 * r], p[m][n][2 * r + 1]));
                top = fmaxf(top, __shfl_xor_sync(0xFFFFFFFFu, top, 1));
                top = fmaxf(top, __shfl_xor_sync(0xFFFFFFFFu, top, 2));
                /* a query that has seen no key yet: 0, so that no infinities are subtracted */
                const float zero = top == -INFINITY ? 0.0f : top;
                const float before = fast_exp2((largest[m][r] - zero) * x.score_scale);
                const float start = zero * x.score_scale;
                largest[m][r] = top;
                float total = 0;
#pragma unroll
                for (int n = 0; n < KEYS / 8; n++) {
                    p[m][n][2 * r] = fast_exp2(p[m][n][2 * r] * x.score_scale - start);
                    p[m][n][2 * r + 1] = fast_exp2(p[m][n][2 * r + 1] * x.score_scale - start);
                    total += p[m][n][2 * r] + p[m][n][2 * r + 1];
                }
                sum[m][r] = sum[m][r] * before + total;
#pragma unroll
                for (int n = 0; n < D / 8; n++) {
                    o[m][n][2 * r] *= before;
                    o[m][n][2 * r + 1] *= before;
                }
                if (!DROP || !keep.threshold) continue;
                const uint32_t line =
                    (uint32_t)(head * x.queries + warp_first + m * STRIP + row + r * 8);
#pragma unroll
                for (int n = 0; n < KEYS / 8; n += 4) {
                    uint32_t words[4];
                    keep.draw_columns(line, (uint32_t)(key / 8 + n), words);
#pragma unroll
                    for (int i = 0; i < 8; i++)
                        p[m][n + i / 2][2 * r + i % 2] *= keep.factor(words[i / 2], i % 2);
                }
            }
        attention_sums<M, STRIPS, KEYS>(o, p, v_tile);
    }

#pragma unroll
    for (int m = 0; m < STRIPS; m++)
#pragma unroll
        for (int r = 0; r < 2; r++) {
            float total = sum[m][r];
            total += __shfl_xor_sync(0xFFFFFFFFu, total, 1);
            total += __shfl_xor_sync(0xFFFFFFFFu, total, 2);
            const int i = warp_first + m * STRIP + row + r * 8;
            if (i >= x.queries) continue;
            const float inverse = total > 0 ? 1.0f / total : 0.0f;
            float *const to = x.out + ((place.b * x.queries + i) * x.heads + place.h) * x.width;
#pragma unroll
            for (int n = 0; n < D / 8; n++)
                attention_put(to, n * 8 + column, x.width, o[m][n][2 * r] * inverse,
                              o[m][n][2 * r + 1] * inverse, false);
            if (column == 0)
                x.log_sum[head * x.queries + i] =
                    total > 0 ? largest[m][r] * x.score_scale + log2f(total) : INFINITY;
        }
}

void attention_forward_tiles(const Run *run, const AttentionCall &x) {
    attention_with(run, x.width, [&]<class M, int D>() {
        typedef ForwardShape<M, D> S;
        const unsigned blocks = blocks_for(x.queries, S::ROWS) * (unsigned)(x.batch * x.heads);
        attention_launch<M>(x, [&]<bool DROP>() {
            LAUNCH(run, (forward_tiles<M, D, DROP>), blocks, ATTENTION_THREADS, S::SHARED, x);
        });
    });
}
