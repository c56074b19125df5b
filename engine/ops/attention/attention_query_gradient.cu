/* dQ: a block owns some queries of one head and walks over the keys once more, weights made again
 * from the saved log-sum-exp:
 *     P = exp2(S - log_sum)    dS = P (dO V^T - delta)    dQ = scale dS K */
#include "engine/ops/attention/attention_wide.cuh"

template <class M, int D, bool DROP> struct QueryShape {
    typedef typename M::Element Element;
    static constexpr int ROW_BYTES = D * (int)sizeof(Element);
    static constexpr int STRIPS = attention_on_tensor_cores<M> && ROW_BYTES <= 256 ? 2 : 1;
    static constexpr int ROWS = ATTENTION_WARPS * STRIPS * ATTENTION_STRIP;
    /* As many as registers hold; dropout takes some. */
    static constexpr int KEYS = ROW_BYTES > 256 && !attention_wide<D> ? 16
                                : ROW_BYTES >= 256 || DROP            ? 32
                                                                      : 64;
    typedef AttentionSteps<M, D, ROWS, KEYS, 2, true, false> Steps;
    /* Queries and dO, then two stages of keys and of values. */
    static constexpr int SHARED =
        attention_wide<D> ? Steps::SHARED : (2 * ROWS + 4 * KEYS) * ROW_BYTES;
};

template <class M, int D, bool DROP>
KERNEL void __launch_bounds__(attention_threads<D>, attention_wide<D> ? 1 : 2)
    query_gradient(const AttentionCall x) {
    typedef QueryShape<M, D, DROP> S;
    typedef typename M::Element Element;
    typedef SharedTile<Element, D> Tile;
    constexpr int KEYS = S::KEYS, STRIPS = S::STRIPS, ROWS = S::ROWS, WIDTH = attention_width<D>;
    const Tile q_tile = {shared_memory<Element>()}, g_tile = {q_tile.start + ROWS * D};
    const AttentionQueries<ROWS, STRIPS> own(x, attention_warp<D>());
    const AttentionStages<M, D, KEYS> stages(x, own.kv_head, g_tile.start + ROWS * D);
    attention_if_wide<D, typename S::Steps> steps;
    if constexpr (attention_wide<D>)
        steps.open(x, q_tile.start, x.q, x.g, own.head * x.padded_queries + own.first, x.k, x.v);
    const int64_t at = (own.head * x.padded_queries + own.first) * D;
    const int row = (int)lane_row(), column = (int)lane_column();
    const AttentionKeep keep(x.dropped);

    if (own.block_end > 0) {
        if constexpr (attention_wide<D>) {
            steps.fetch(0, 0, 0, own.kv_head * x.padded_keys);
        } else {
            q_tile.template copy_rows<ROWS, ATTENTION_THREADS>(static_cast<const Element *>(x.q) +
                                                               at);
            g_tile.template copy_rows<ROWS, ATTENTION_THREADS>(static_cast<const Element *>(x.g) +
                                                               at);
            stages.fetch(0, 0);
        }
    }
    copy_commit();

    const AttentionNote *const notes = x.notes + own.head * x.padded_queries;
    float dq[STRIPS][WIDTH / 8][4] = {};

    for (int key = 0, stage = 0; key < own.block_end; key += KEYS, stage ^= 1) {
        if constexpr (!attention_wide<D>) {
            copy_wait<0>();
            __syncthreads(); /* the tile is here, and the other stage is no longer read */
            if (key + KEYS < own.block_end) stages.fetch(stage ^ 1, key + KEYS);
            copy_commit();
            if (key >= own.warp_end) continue;
        }
        const unsigned strip = own.warp_first - own.first;
        float p[STRIPS][KEYS / 8][4] = {}, ds[STRIPS][KEYS / 8][4] = {};
        if constexpr (attention_wide<D>) {
            const bool more = key + KEYS < own.block_end, wanted = key < own.warp_end;
            const int64_t line = own.kv_head * x.padded_keys + key;
            const int64_t next = more ? line + KEYS : -1;
            steps.make(p, 0, line, next, wanted);
            steps.make(ds, 1, line, next, wanted);
            if (!wanted) continue;
        } else {
            attention_scores<M, STRIPS, KEYS>(p, q_tile, strip, stages.k(stage));
            attention_scores<M, STRIPS, KEYS>(ds, g_tile, strip, stages.v(stage));
        }
        const bool masked = key + KEYS > own.warp_full;
#pragma unroll
        for (int m = 0; m < STRIPS; m++)
#pragma unroll
            for (int r = 0; r < 2; r++) {
                const int i = own.warp_first + m * ATTENTION_STRIP + row + r * 8;
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
        if constexpr (attention_wide<D>)
            attention_sums<M, STRIPS, KEYS>(dq, ds, steps.part(0));
        else
            attention_sums<M, STRIPS, KEYS>(dq, ds, stages.k(stage));
    }

#pragma unroll
    for (int m = 0; m < STRIPS; m++)
#pragma unroll
        for (int r = 0; r < 2; r++) {
            const int i = own.warp_first + m * ATTENTION_STRIP + row + r * 8;
            if (i >= x.queries) continue;
            float *const to =
                x.dq + (own.place.b * x.queries + i) * x.q_row + own.place.h * x.width;
#pragma unroll
            for (int n = 0; n < WIDTH / 8; n++)
                attention_put(to, attention_channel<D>() + n * 8 + column, x.width,
                              dq[m][n][2 * r] * x.scale, dq[m][n][2 * r + 1] * x.scale, x.add_q);
        }
}

void attention_query_gradient(const Run *run, const AttentionCall &x) {
    attention_with(run, x.width, [&]<class M, int D>() {
        attention_launch<M>(x, [&]<bool DROP>() {
            typedef QueryShape<M, D, DROP> S;
            const dim3 blocks(blocks_for(x.queries, S::ROWS) * (unsigned)(x.batch * x.heads),
                              (unsigned)x.parts);
            LAUNCH(run, (query_gradient<M, D, DROP>), blocks, attention_threads<D>, S::SHARED, x);
        });
    });
}
