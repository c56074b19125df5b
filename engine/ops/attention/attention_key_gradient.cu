/* dK and dV: a block owns some keys of one key head and walks over the queries that see them, of
 * all heads that share it. Scores are made transposed, keys in the rows, so that weights are
 * operands as they lie in the registers:
 *     P^T = exp2(K Q^T - log_sum)    dV = P^T dO    dS^T = P^T (V dO^T - delta)    dK = scale dS^T
 * Q */
#include "engine/ops/attention/attention_wide.cuh"

template <class M, int D> struct KeyShape {
    typedef typename M::Element Element;
    static constexpr int ROW_BYTES = D * (int)sizeof(Element);
    static constexpr int STRIPS = attention_on_tensor_cores<M> && ROW_BYTES <= 128 ? 2 : 1;
    static constexpr int ROWS = ATTENTION_WARPS * STRIPS * ATTENTION_STRIP; /* keys */
    static constexpr int QUERIES = attention_width<D> * (int)sizeof(Element) <= 256 ? 32 : 16;
    static constexpr int NOTE_BYTES = QUERIES * (int)sizeof(AttentionNote);
    typedef AttentionSteps<M, D, ROWS, QUERIES, 2, true, true> Steps;
    /* Keys and values, two stages of queries and of dO, then of notes. */
    static constexpr int SHARED =
        attention_wide<D> ? Steps::SHARED : (2 * ROWS + 4 * QUERIES) * ROW_BYTES + 2 * NOTE_BYTES;
};

template <class M, int D, bool DROP>
KERNEL void __launch_bounds__(attention_threads<D>, attention_wide<D> ? 1 : 2)
    key_gradient(const AttentionCall x) {
    typedef KeyShape<M, D> S;
    typedef typename M::Element Element;
    typedef SharedTile<Element, D> Tile;
    constexpr int QUERIES = S::QUERIES, STRIPS = S::STRIPS, ROWS = S::ROWS;
    constexpr int WIDTH = attention_width<D>;
    const Tile k_tile = {shared_memory<Element>()}, v_tile = {k_tile.start + ROWS * D};
    Element *const stages = v_tile.start + ROWS * D;
    AttentionNotes *const stage_notes =
        reinterpret_cast<AttentionNotes *>(stages + 4 * QUERIES * D);
    const AttentionPlace place = attention_place(x, x.kv_heads, (x.keys + ROWS - 1) / ROWS, false);
    const int64_t kv_head = place.b * x.kv_heads + place.h;
    const int first = place.tile * ROWS;
    const int64_t at = (kv_head * x.padded_keys + first) * D;
    attention_if_wide<D, typename S::Steps> steps;
    if constexpr (attention_wide<D>)
        steps.open(x, k_tile.start, x.k, x.v, kv_head * x.padded_keys + first, x.q, x.g);

    const int end = attention_end(x, place.b);
    const int warp_first = first + (int)attention_warp<D>() * STRIPS * ATTENTION_STRIP;
    const int warp_last = warp_first + STRIPS * ATTENTION_STRIP - 1;
    /* the tile of the first query that sees the first key, and tiles from there on */
    const int seen_from = x.causal && first > x.offset ? first - x.offset : 0;
    const int from = seen_from / QUERIES;
    const int tiles = (x.queries + QUERIES - 1) / QUERIES - from;
    const int turns = first < end && tiles > 0 ? tiles * (int)x.group : 0;
    const int row = (int)lane_row(), column = (int)lane_column();
    const AttentionKeep keep(x.dropped);

    const auto fetch = [&](int stage, int64_t head, int query) {
        const int64_t line = head * x.padded_queries + query;
        const Tile q_tile = {stages + stage * 2 * QUERIES * D},
                   g_tile = {q_tile.start + QUERIES * D};
        q_tile.template copy_rows<QUERIES, ATTENTION_THREADS>(static_cast<const Element *>(x.q) +
                                                              line * D);
        g_tile.template copy_rows<QUERIES, ATTENTION_THREADS>(static_cast<const Element *>(x.g) +
                                                              line * D);
        if (threadIdx.x < S::NOTE_BYTES / 16)
            copy_async(stage_notes + stage * (QUERIES / 2) + threadIdx.x,
                       x.notes + line + threadIdx.x * 2);
    };
    int query = from * QUERIES; /* of the turn */
    int64_t head = place.b * x.heads + place.h * x.group;
    if (turns > 0) {
        if constexpr (attention_wide<D>) {
            steps.fetch(0, 0, 0, head * x.padded_queries + query);
        } else {
            k_tile.template copy_rows<ROWS, ATTENTION_THREADS>(static_cast<const Element *>(x.k) +
                                                               at);
            v_tile.template copy_rows<ROWS, ATTENTION_THREADS>(static_cast<const Element *>(x.v) +
                                                               at);
            fetch(0, head, query);
        }
    }
    copy_commit();

    float dk[STRIPS][WIDTH / 8][4] = {}, dv[STRIPS][WIDTH / 8][4] = {};
    for (int turn = 0, stage = 0; turn < turns; turn++, stage ^= 1) {
        if constexpr (!attention_wide<D>) {
            copy_wait<0>();
            __syncthreads(); /* the tile is here, and the other stage is no longer read */
        }
        const int now = query;
        const int64_t now_head = head;
        query += QUERIES;
        if (query >= x.queries) query = from * QUERIES, head++;
        if constexpr (!attention_wide<D>) {
            if (turn + 1 < turns) fetch(stage ^ 1, head, query);
            copy_commit();
        }
        const bool idle =
            warp_first >= end || (x.causal && now + QUERIES - 1 + x.offset < warp_first);
        if (!attention_wide<D> && idle) continue;
        const Tile q_tile = {stages + stage * 2 * QUERIES * D},
                   g_tile = {q_tile.start + QUERIES * D};
        const AttentionNotes *notes = stage_notes + stage * (QUERIES / 2);

        float p[STRIPS][QUERIES / 8][4] = {}, ds[STRIPS][QUERIES / 8][4] = {};
        if constexpr (attention_wide<D>) {
            const int64_t line = now_head * x.padded_queries + now;
            const int64_t next = turn + 1 < turns ? head * x.padded_queries + query : -1;
            steps.make(p, 0, line, next, !idle);
            steps.make(ds, 1, line, next, !idle);
            if (idle) continue;
            notes = reinterpret_cast<const AttentionNotes *>(x.notes + line);
        } else {
            attention_scores<M, STRIPS, QUERIES>(p, k_tile, warp_first - first, q_tile);
            attention_scores<M, STRIPS, QUERIES>(ds, v_tile, warp_first - first, g_tile);
        }
        const bool masked = warp_last >= end || (x.causal && now + x.offset < warp_last);
#pragma unroll
        for (int m = 0; m < STRIPS; m++) {
            uint32_t words[4][2];
#pragma unroll
            for (int n = 0; n < QUERIES / 8; n++) {
                const AttentionNotes note = notes[n * 4 + column / 2];
                if (DROP && keep.threshold && n % 2 == 0)
                    keep.draw_rows((uint32_t)(now_head * x.queries + now + n * 8),
                                   (uint32_t)(warp_first + m * ATTENTION_STRIP) / 8, words);
#pragma unroll
                for (int e = 0; e < 4; e++) {
                    const int j = warp_first + m * ATTENTION_STRIP + row + e / 2 * 8;
                    const int i = now + n * 8 + column + e % 2;
                    float weight = fast_exp2(p[m][n][e] * x.score_scale - note.of[e % 2].log_sum);
                    if (masked && j >= attention_seen(x, end, i)) weight = 0;
                    float kept = weight, dp = ds[m][n][e];
                    if (DROP && keep.threshold) {
                        const float factor = keep.factor(words[n % 2 * 2 + e / 2][e % 2], row % 2);
                        kept *= factor;
                        dp *= factor;
                    }
                    p[m][n][e] = kept;
                    ds[m][n][e] = weight * (dp - note.of[e % 2].delta);
                }
            }
        }
        if constexpr (attention_wide<D>) {
            attention_sums<M, STRIPS, QUERIES>(dv, p, steps.part(1));
            attention_sums<M, STRIPS, QUERIES>(dk, ds, steps.part(0));
        } else {
            attention_sums<M, STRIPS, QUERIES>(dv, p, g_tile);
            attention_sums<M, STRIPS, QUERIES>(dk, ds, q_tile);
        }
    }

#pragma unroll
    for (int m = 0; m < STRIPS; m++)
#pragma unroll
        for (int r = 0; r < 2; r++) {
            const int j = warp_first + m * ATTENTION_STRIP + row + r * 8;
            if (j >= x.keys) continue;
            const int64_t line = place.b * x.keys + j, kv = place.h * x.width;
#pragma unroll
            for (int n = 0; n < WIDTH / 8; n++) {
                if (x.dk)
                    attention_put(
                        x.dk + line * x.k_row + kv, attention_channel<D>() + n * 8 + column,
                        x.width, dk[m][n][2 * r] * x.scale, dk[m][n][2 * r + 1] * x.scale, x.add_k);
                if (x.dv)
                    attention_put(x.dv + line * x.v_row + kv,
                                  attention_channel<D>() + n * 8 + column, x.width, dv[m][n][2 * r],
                                  dv[m][n][2 * r + 1], x.add_v);
            }
        }
}

void attention_key_gradient(const Run *run, const AttentionCall &x) {
    attention_with(run, x.width, [&]<class M, int D>() {
        typedef KeyShape<M, D> S;
        const dim3 blocks(blocks_for(x.keys, S::ROWS) * (unsigned)(x.batch * x.kv_heads),
                          (unsigned)x.parts);
        attention_launch<M>(x, [&]<bool DROP>() {
            LAUNCH(run, (key_gradient<M, D, DROP>), blocks, attention_threads<D>, S::SHARED, x);
        });
    });
}
