/* Forward: a block owns some queries of one head and walks over the keys with a running maximum and
 * sum (FlashAttention-2, algorithm 1). Scores, weights and the sums of P V stay in registers. */
#include "engine/ops/attention/attention_wide.cuh"

template <class M, int D> struct ForwardShape {
    typedef typename M::Element Element;
    static constexpr int ROW_BYTES = D * (int)sizeof(Element);
    /* Strips of 16 queries a warp: two share what it reads of keys and values. */
    static constexpr int STRIPS = attention_on_tensor_cores<M> && ROW_BYTES <= 256 ? 2 : 1;
    static constexpr int ROWS = ATTENTION_WARPS * STRIPS * ATTENTION_STRIP;
    static constexpr int KEYS = ROW_BYTES <= 128 ? 64 : 32;
    typedef AttentionSteps<M, D, ROWS, KEYS, 1, false, true> Steps;
    /* Queries, then two stages of keys and of values. */
    static constexpr int SHARED = attention_wide<D> ? Steps::SHARED : (ROWS + 4 * KEYS) * ROW_BYTES;
};

template <class M, int D, bool DROP>
KERNEL void __launch_bounds__(attention_threads<D>, attention_wide<D> ? 1 : 2)
    forward_tiles(const AttentionCall x) {
    typedef ForwardShape<M, D> S;
    typedef typename M::Element Element;
    typedef SharedTile<Element, D> Tile;
    constexpr int KEYS = S::KEYS, STRIPS = S::STRIPS, ROWS = S::ROWS, WIDTH = attention_width<D>;
    Element *const shared = shared_memory<Element>();
    const Tile q_tile = {shared};
    const AttentionQueries<ROWS, STRIPS> own(x, attention_warp<D>());
    const AttentionStages<M, D, KEYS> stages(x, own.kv_head, shared + ROWS * D);
    attention_if_wide<D, typename S::Steps> steps;
    if constexpr (attention_wide<D>)
        steps.open(x, shared, x.q, x.g, own.head * x.padded_queries + own.first, x.k, x.v);
    const int row = (int)lane_row();
    const AttentionKeep keep(x.dropped);

    if (own.block_end > 0) {
        if constexpr (attention_wide<D>) {
            steps.fetch(0, 0, 0, own.kv_head * x.padded_keys);
        } else {
            q_tile.template copy_rows<ROWS, ATTENTION_THREADS>(
                static_cast<const Element *>(x.q) + (own.head * x.padded_queries + own.first) * D);
            stages.fetch(0, 0);
        }
    }
    copy_commit();

    float o[STRIPS][WIDTH / 8][4] = {}, largest[STRIPS][2], sum[STRIPS][2] = {};
#pragma unroll
    for (int m = 0; m < STRIPS; m++) largest[m][0] = largest[m][1] = -INFINITY;

    for (int key = 0, stage = 0; key < own.block_end; key += KEYS, stage ^= 1) {
        if constexpr (!attention_wide<D>) {
            copy_wait<0>();
            __syncthreads(); /* the tile is here, and the other stage is no longer read */
            if (key + KEYS < own.block_end) stages.fetch(stage ^ 1, key + KEYS);
            copy_commit();
            if (key >= own.warp_end) continue;
        }
        float p[STRIPS][KEYS / 8][4] = {};
        if constexpr (attention_wide<D>) {
            const bool more = key + KEYS < own.block_end, wanted = key < own.warp_end;
            const int64_t line = own.kv_head * x.padded_keys + key;
            steps.make(p, 0, line, more ? line + KEYS : -1, wanted);
            if (!wanted) continue;
        } else {
            attention_scores<M, STRIPS, KEYS>(p, q_tile, own.warp_first - own.first,
                                              stages.k(stage));
        }
#pragma unroll
        for (int m = 0; m < STRIPS; m++) {
            const int i = own.warp_first + m * ATTENTION_STRIP + row;
            if (key + KEYS > own.warp_full) attention_hide(x, own.end, i, key, p[m]);
#pragma unroll
            for (int r = 0; r < 2; r++) {
                const float before =
                    attention_weigh(p[m], r, x.score_scale, largest[m][r], sum[m][r]);
#pragma unroll
                for (int n = 0; n < WIDTH / 8; n++) {
                    o[m][n][2 * r] *= before;
                    o[m][n][2 * r + 1] *= before;
                }
                if (!DROP || !keep.threshold) continue;
                const uint32_t line = (uint32_t)(own.head * x.queries + i + r * 8);
#pragma unroll
                for (int n = 0; n < KEYS / 8; n += 4) {
                    uint32_t words[4];
                    keep.draw_columns(line, (uint32_t)(key / 8 + n), words);
#pragma unroll
                    for (int e = 0; e < 8; e++)
                        p[m][n + e / 2][2 * r + e % 2] *= keep.factor(words[e / 2], e % 2);
                }
            }
        }
        if constexpr (attention_wide<D>)
            attention_sums<M, STRIPS, KEYS>(o, p, steps.part(1));
        else
            attention_sums<M, STRIPS, KEYS>(o, p, stages.v(stage));
    }

#pragma unroll
    for (int m = 0; m < STRIPS; m++)
#pragma unroll
        for (int r = 0; r < 2; r++)
            attention_finish(x, own.place, own.warp_first + m * ATTENTION_STRIP + row + r * 8, o[m],
                             r, largest[m][r], sum[m][r], attention_channel<D>());
}

void attention_forward_tiles(const Run *run, const AttentionCall &x) {
    attention_with(run, x.width, [&]<class M, int D>() {
        typedef ForwardShape<M, D> S;
        const dim3 blocks(blocks_for(x.queries, S::ROWS) * (unsigned)(x.batch * x.heads),
                          (unsigned)x.parts);
        attention_launch<M>(x, [&]<bool DROP>() {
            LAUNCH(run, (forward_tiles<M, D, DROP>), blocks, attention_threads<D>, S::SHARED, x);
        });
    });
}
