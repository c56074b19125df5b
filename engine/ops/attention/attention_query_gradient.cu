/* dQ: a block owns some queries of one head and walks over the keys once more, weights made again
 * from the saved log-sum-exp:
 *     P = exp2(S - log_sum)    dS = P (dO V^T - delta)    dQ = scale dS K */
#include "engine/ops/attention/attention.cuh"

template <class M, int D, bool DROP> struct QueryShape {
    typedef typename M::Element Element;
    static constexpr int ROW_BYTES = D * (int)sizeof(Element);
    static constexpr int STRIPS = attention_on_tensor_cores<M> && ROW_BYTES <= 256 ? 2 : 1;
    static constexpr int ROWS = ATTENTION_WARPS * STRIPS * STRIP;
    /* As many as registers hold; dropout takes some. */
    static constexpr int KEYS = ROW_BYTES > 256 ? 16 : ROW_BYTES == 256 || DROP ? 32 : 64;
    /* Queries and dO, then two stages of keys and of values. */
    static constexpr int SHARED = (2 * ROWS + 4 * KEYS) * ROW_BYTES;
};

template <class M, int D, bool DROP>
KERNEL void __launch_bounds__(ATTENTION_THREADS, 2) query_gradient(const AttentionCall x) {
    typedef QueryShape<M, D, DROP> S;
    typedef typename M::Element Element;
    typedef SharedTile<Element, D> Tile;
    constexpr int KEYS = S::KEYS, STRIPS = S::STRIPS, ROWS = S::ROWS;
    const Tile q_tile = {shared_memory<Element>()}, g_tile = {q_tile.start + ROWS * D};
    const AttentionQueries<ROWS, STRIPS> own(x);
    const AttentionStages<M, D, KEYS> stages(x, own.kv_head, g_tile.start + ROWS * D);
    const int64_t at = (own.head * x.padded_queries + own.first) * D;
    const int row = (int)lane_row(), column = (int)lane_column();
    const AttentionKeep keep(x.dropped);

    if (own.block_end > 0) {
        q_tile.template copy_rows<ROWS, ATTENTION_THREADS>(static_cast<const Element *>(x.q) + at);
        g_tile.template copy_rows<ROWS, ATTENTION_THREADS>(static_cast<const Element *>(x.g) + at);
        stages.fetch(0, 0);
    }
    copy_commit();

    const AttentionNote *const notes = x.notes + own.head * x.padded_queries;
    float dq[STRIPS][D / 8][4] = {};

    for (int key = 0, stage = 0; key < own.block_end; key += KEYS, stage ^= 1) {
        copy_wait<0>();
        __syncthreads(); /* the tile is here, and the other stage is no longer read */
        if (key + KEYS < own.block_end) stages.fetch(stage ^ 1, key + KEYS);
        copy_commit();
        if (key >= own.warp_end) continue;

        const unsigned strip = own.warp_first - own.first;
        float p[STRIPS][KEYS / 8][4] = {}, ds[STRIPS][KEYS / 8][4] = {};
        attention_scores<M, STRIPS, KEYS>(p, q_tile, strip, stages.k(stage));
        attention_scores<M, STRIPS, KEYS>(ds, g_tile, strip, stages.v(stage));
        const bool masked = key + KEYS > own.warp_full;
#pragma unroll
        for (int m = 0; m < STRIPS; m++)
#pragma unroll
            for (int r = 0; r < 2; r++) {
                const int i = own.warp_first + m * STRIP + row + r * 8;
                const int seen = masked ? attention_seen(x, own.end, i) - key : KEYS;
                const AttentionNote note = notes[i];
                uint32_t words[4];
#pragma unroll
                for (int n = 0; n < KEYS / 8; n++) {
                    if (DROP && keep.threshold && n % 4 == 0)
                        keep.draw_columns((uint32_t)(own.head * x.queries + i),
                                          (uint32_t)(key / 8 + n), words);
#pragma unroll
                    for (int e = 0; e < 2; e++) {
                        const int j = n * 8 + column + e;
                        const float weight =
                            j < seen ? fast_exp2(p[m][n][2 * r + e] * x.score_scale - note.log_sum)
                                     : 0.0f;
                        float dp = ds[m][n][2 * r + e];
                        if (DROP && keep.threshold) dp *= keep.factor(words[n % 4], e);
                        ds[m][n][2 * r + e] = weight * (dp - note.delta);
                    }
                }
            }
        attention_sums<M, STRIPS, KEYS>(dq, ds, stages.k(stage));
    }

#pragma unroll
    for (int m = 0; m < STRIPS; m++)
#pragma unroll
        for (int r = 0; r < 2; r++) {
            const int i = own.warp_first + m * STRIP + row + r * 8;
            if (i >= x.queries) continue;
            float *const to =
                x.dq + (own.place.b * x.queries + i) * x.q_row + own.place.h * x.width;
#pragma unroll
            for (int n = 0; n < D / 8; n++)
                attention_put(to, n * 8 + column, x.width, dq[m][n][2 * r] * x.scale,
                              dq[m][n][2 * r + 1] * x.scale, x.add_q);
        }
}

void attention_query_gradient(const Run *run, const AttentionCall &x) {
    attention_with(run, x.width, [&]<class M, int D>() {
        attention_launch<M>(x, [&]<bool DROP>() {
            typedef QueryShape<M, D, DROP> S;
            const unsigned blocks = blocks_for(x.queries, S::ROWS) * (unsigned)(x.batch * x.heads);
            LAUNCH(run, (query_gradient<M, D, DROP>), blocks, ATTENTION_THREADS, S::SHARED, x);
        });
    });
}
