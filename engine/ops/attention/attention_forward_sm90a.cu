/* Forward on Hopper, bf16, heads of up to 64 or 128: a block owns some queries of one head, 64 for
 * each of its warpgroups, and one group more brings the keys and values. While a group's products
 * of weights and values run, and the others', it makes the next weights from scores that were asked
 * for before (FlashAttention-3, arXiv 2407.08608, algorithm 2). Numbers as in attention_forward.cu.
 */
#include "engine/cuda/warpgroup.cuh"
#include "engine/ops/attention/attention.cuh"

constexpr int GROUP_ROWS = 64, KEYS = TILE_ROWS, STAGES = 2;

template <int D> struct WarpgroupForward {
    /* As many groups as registers hold, and one more that brings the tiles. Registers of a thread:
     * the launch divides them evenly. */
    static constexpr int GROUPS = D == 64 ? 3 : 2, THREADS = (GROUPS + 1) * WARPGROUP;
    static constexpr int GROUP_REGISTERS = GROUPS == 3 ? 160 : 240;
    static constexpr int BRINGER_REGISTERS = GROUPS == 3 ? 32 : 24;
    static constexpr int ROWS = GROUPS * GROUP_ROWS;
    static_assert(D == PANEL || ROWS == TILE_ROWS, "queries of a block lie one after the other");
    static_assert(ROWS - GROUP_ROWS <= KEYS * STAGES, "tiles that one group skips fit in stages");
    static constexpr int TILE_BYTES = TILE_ROWS * D * (int)sizeof(bfloat);
    /* Stages of keys and of values, then queries. */
    static constexpr int SHARED =
        TILE_ALIGNMENT + 2 * STAGES * TILE_BYTES + ROWS * D * (int)sizeof(bfloat);
};

/* What has come, and what may be overwritten. */
struct ForwardArrivals {
    Arrivals q, k[STAGES], v[STAGES], k_free[STAGES], v_free[STAGES];
};

/* A tile's stage, and the parity of its barrier's phase. */
__device__ static inline unsigned stage_of(int tile) {
    return (unsigned)tile % STAGES;
}
__device__ static inline unsigned parity_of(int tile) {
    return (unsigned)tile / STAGES % 2;
}

template <int D>
KERNEL void __launch_bounds__(WarpgroupForward<D>::THREADS, 1)
    forward_warpgroups(const AttentionCall x) {
    typedef WarpgroupForward<D> S;
    constexpr int TILE = TILE_ROWS * D, GROUPS = S::GROUPS, ROWS = S::ROWS;
    constexpr unsigned CHUNKS = TILE / CHUNK_WIDTH; /* of a tile */
    __shared__ ForwardArrivals come;
    bfloat *const memory = reinterpret_cast<bfloat *>(tile_memory());
    const WarpgroupTile q_tile = {memory, 2 * STAGES * CHUNKS};
    const auto k_tile = [&](int tile) { return WarpgroupTile{memory, stage_of(tile) * CHUNKS}; };
    const auto v_tile = [&](int tile) {
        return WarpgroupTile{memory, (STAGES + stage_of(tile)) * CHUNKS};
    };
    const int blocks = (x.queries + ROWS - 1) / ROWS; /* of a head */
    const AttentionPlace place = attention_place(x, x.heads, blocks, true);
    const int64_t head = place.b * x.heads + place.h;
    /* Queries that do not fill the blocks leave groups of the first idle, whose rows see the fewest
     * keys; not where its rows would begin within a tile of panels. */
    const int rows = (x.queries + GROUP_ROWS - 1) / GROUP_ROWS * GROUP_ROWS;
    const int first = place.tile * ROWS - (D == PANEL ? blocks * ROWS - rows : 0);
    const unsigned idle = first < 0 ? (unsigned)-first / GROUP_ROWS : 0;
    const int end = attention_end(x, place.b);
    /* Tiles that some query of groups up to `last_group` sees. */
    const auto tiles_of = [&](int last_group) {
        const int last = min(first + (last_group + 1) * GROUP_ROWS, x.queries) - 1;
        const int seen = attention_seen(x, end, last);
        return seen > 0 ? (seen + KEYS - 1) / KEYS : 0;
    };
    const unsigned warp = __shfl_sync(0xFFFFFFFFu, threadIdx.x / WARP, 0), group = warp / 4;

    if (threadIdx.x == 0) {
        arrivals_open(&come.q, 1);
        for (int s = 0; s < STAGES; s++) {
            arrivals_open(&come.k[s], 1);
            arrivals_open(&come.v[s], 1);
            arrivals_open(&come.k_free[s], (GROUPS - idle) * WARPGROUP / WARP);
            arrivals_open(&come.v_free[s], (GROUPS - idle) * WARPGROUP / WARP);
        }
        arrivals_opened();
    }
    __syncthreads();

    if (group == GROUPS) {
        keep_registers<S::BRINGER_REGISTERS>();
        const int tiles = tiles_of(GROUPS - 1);
        if (threadIdx.x % WARPGROUP != 0 || tiles == 0) return;
        const int64_t kv_head = place.b * x.kv_heads + place.h / x.group;
        const int from = max(first, 0);
        const bfloat *const q =
            static_cast<const bfloat *>(x.q) + (head * x.padded_queries + from) * D;
        const bfloat *const k = static_cast<const bfloat *>(x.k) + kv_head * x.padded_keys * D;
        const bfloat *const v = static_cast<const bfloat *>(x.v) + kv_head * x.padded_keys * D;
        const auto bring = [&](const WarpgroupTile &to, const bfloat *from, Arrivals *here,
                               int rows = TILE_ROWS) {
            const unsigned bytes = (unsigned)rows * D * sizeof(bfloat);
            arrive_expecting(here, bytes);
            copy_bulk(to.start(), from, bytes, here);
        };
        bring({memory, q_tile.chunks + idle * GROUP_ROWS * PANEL_CHUNKS}, q, &come.q,
              min(first + ROWS, x.padded_queries) - from);
        for (int tile = 0; tile <= tiles; tile++) {
            if (tile < tiles) {
                if (tile >= STAGES) await(&come.k_free[stage_of(tile)], parity_of(tile - STAGES));
                bring(k_tile(tile), k + (int64_t)tile * TILE, &come.k[stage_of(tile)]);
            }
            if (tile == 0) continue;
            const int before = tile - 1; /* values are needed one turn later */
            if (before >= STAGES) await(&come.v_free[stage_of(before)], parity_of(before - STAGES));
            bring(v_tile(before), v + (int64_t)before * TILE, &come.v[stage_of(before)]);
        }
        return;
    }

    if (group < idle) return;
    take_registers<S::GROUP_REGISTERS>();
    /* Others of the block may see a tile more; all of it is then brought without this group. */
    const int tiles = tiles_of((int)group);
    const int row = (int)lane_row();
    const int warp_first = first + (int)warp * STRIP;
    const int warp_full = attention_seen(x, end, warp_first); /* what its first query sees */
    float o[D / 8][4] = {}, s[KEYS / 8][4] = {};
    float largest[2] = {-INFINITY, -INFINITY}, sum[2] = {}, before[2];
    ProductsOfBf16::A p[KEYS / 16];

    const auto ask_scores = [&](int tile) {
        await(&come.k[stage_of(tile)], parity_of(tile));
        hold(s);
        begin_products();
        multiply_rows<KEYS, D>(s, q_tile, group * GROUP_ROWS, k_tile(tile), 0);
        end_products();
    };
    const auto add_values = [&](int tile) {
        await(&come.v[stage_of(tile)], parity_of(tile));
        hold(o);
        begin_products();
#pragma unroll
        for (unsigned step = 0; step < KEYS / 16; step++)
            multiply_registers<D, true, false>(o, p[step].r, v_tile(tile).columns(step));
        end_products();
    };
    const auto release = [&](Arrivals *free) {
        if (threadIdx.x % WARP == 0) arrive(free);
    };
    /* Scores become weights; before: what sums so far are worth now. */
    const auto weigh = [&](int tile) {
        const int key = tile * KEYS;
        if (key + KEYS > warp_full) attention_hide(x, end, warp_first + row, key, s);
#pragma unroll
        for (int r = 0; r < 2; r++)
            before[r] = attention_weigh(s, r, x.score_scale, largest[r], sum[r]);
    };
    const auto pack = [&]() {
#pragma unroll
        for (int step = 0; step < KEYS / 16; step++)
            ProductsOfBf16::from_sums(p[step], s + 2 * step);
    };

    if (tiles > 0) {
        await(&come.q, 0);
        ask_scores(0);
        wait_products<0>();
        hold(s);
        release(&come.k_free[0]);
        weigh(0);
        pack();
        for (int tile = 1; tile < tiles; tile++) {
            ask_scores(tile);
            add_values(tile - 1);
            wait_products<1>();
            hold(s);
            release(&come.k_free[stage_of(tile)]);
            weigh(tile);
            wait_products<0>();
            hold(o);
            release(&come.v_free[stage_of(tile - 1)]);
#pragma unroll
            for (int n = 0; n < D / 8; n++)
#pragma unroll
                for (int i = 0; i < 4; i++) o[n][i] *= before[i / 2];
            pack();
        }
        add_values(tiles - 1);
        wait_products<0>();
        hold(o);
        release(&come.v_free[stage_of(tiles - 1)]);
    }

#pragma unroll
    for (int r = 0; r < 2; r++)
        attention_finish(x, place, warp_first + row + r * 8, o, r, largest[r], sum[r]);
}

template <int D> static void launch_forward(const Run *run, const AttentionCall &x) {
    typedef WarpgroupForward<D> S;
    LAUNCH(run, (forward_warpgroups<D>),
           blocks_for(x.queries, S::ROWS) * (unsigned)(x.batch * x.heads), S::THREADS, S::SHARED,
           x);
}

void attention_forward_warpgroups(const Run *run, const AttentionCall &x) {
    if (x.width <= 64)
        launch_forward<64>(run, x);
    else
        launch_forward<128>(run, x);
}
