/* Forward on Hopper, bf16, heads of up to 64 or 128: a block owns some queries of one head, 64 for
 * each of its warpgroups, and one group more brings the keys and values. While a group's products
 * of weights and values run, and the others', it makes the next weights from scores that were asked
 * for before (FlashAttention-3, arXiv 2407.08608, algorithm 2). Numbers as in attention_forward.cu.
 */
#include <algorithm>

#include "engine/cuda/handover.cuh"
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
    static constexpr int TILE_BYTES = TILE_ROWS * D * (int)sizeof(bfloat);
    /* Stages of keys and of values, then queries. */
    static constexpr int SHARED =
        TILE_ALIGNMENT + 2 * STAGES * TILE_BYTES + ROWS * D * (int)sizeof(bfloat);
};

/* What has come, and what may be overwritten. */
struct ForwardArrivals {
    Arrivals q, q_free, k[STAGES], v[STAGES], k_free[STAGES], v_free[STAGES];
};

/* A tile's stage, and the parity of its barrier's phase; tiles are counted over all of a block's
 * pieces of work. */
__device__ static inline unsigned stage_of(unsigned tile) {
    return tile % STAGES;
}
__device__ static inline unsigned parity_of(unsigned tile) {
    return tile / STAGES % 2;
}

/* A piece of work: the queries of one head that the groups of a block hold. */
template <int D> struct ForwardPiece {
    AttentionPlace place;
    int64_t head;
    int first, end;
    unsigned idle; /* groups, from the first on, that have no queries */

    /* Queries that do not fill the pieces leave groups of the first idle, whose rows see the fewest
     * keys; not where its rows would begin within a tile of panels. */
    __device__ ForwardPiece(const AttentionCall &x, int pieces, unsigned number)
        : place(attention_place(x, x.heads, pieces, true, number)),
          head(place.b * x.heads + place.h), end(attention_end(x, place.b)) {
        const int rows = (x.queries + GROUP_ROWS - 1) / GROUP_ROWS * GROUP_ROWS;
        constexpr int ROWS = WarpgroupForward<D>::ROWS;
        first = place.tile * ROWS - (D == PANEL ? pieces * ROWS - rows : 0);
        idle = first < 0 ? (unsigned)-first / GROUP_ROWS : 0;
    }
    /* Tiles that some query of groups up to `group` sees. */
    __device__ int tiles(const AttentionCall &x, unsigned group) const {
        if (group < idle) return 0;
        const int last = min(first + ((int)group + 1) * GROUP_ROWS, x.queries) - 1;
        const int seen = attention_seen(x, end, last);
        return seen > 0 ? (seen + KEYS - 1) / KEYS : 0;
    }
};

/* Blocks stay and take one piece after the other: the next queries and keys are on their way while
 * the last results are written. */
template <int D>
KERNEL void __launch_bounds__(WarpgroupForward<D>::THREADS, 1)
    forward_warpgroups(const AttentionCall x) {
    typedef WarpgroupForward<D> S;
    constexpr int TILE = TILE_ROWS * D, GROUPS = S::GROUPS, ROWS = S::ROWS;
    constexpr unsigned CHUNKS = TILE / CHUNK_WIDTH; /* of a tile */
    __shared__ ForwardArrivals come;
    __shared__ unsigned number_space; /* comes and is free with the queries */
    bfloat *const memory = reinterpret_cast<bfloat *>(tile_memory());
    const WarpgroupTile<> q_tile = {memory, 2 * STAGES * CHUNKS};
    const auto k_tile = [&](unsigned tile) {
        return WarpgroupTile<>{memory, stage_of(tile) * CHUNKS};
    };
    const auto v_tile = [&](unsigned tile) {
        return WarpgroupTile<>{memory, (STAGES + stage_of(tile)) * CHUNKS};
    };
    const int pieces = (x.queries + ROWS - 1) / ROWS; /* of a head */
    const unsigned all_pieces = (unsigned)(x.batch * x.heads) * (unsigned)pieces;
    const unsigned warp = __shfl_sync(0xFFFFFFFFu, threadIdx.x / WARP, 0), group = warp / 4;

    if (threadIdx.x == 0) {
        arrivals_open(&come.q, 1);
        arrivals_open(&come.q_free, GROUPS * WARPGROUP / WARP);
        for (int s = 0; s < STAGES; s++) {
            arrivals_open(&come.k[s], 1);
            arrivals_open(&come.v[s], 1);
            arrivals_open(&come.k_free[s], GROUPS * WARPGROUP / WARP);
            arrivals_open(&come.v_free[s], GROUPS * WARPGROUP / WARP);
        }
        arrivals_opened();
    }
    __syncthreads();

    if (group == GROUPS) {
        keep_registers<S::BRINGER_REGISTERS>();
        if (threadIdx.x % WARPGROUP != 0) return;
        const auto bring = [&](const WarpgroupTile<> &to, const bfloat *from, Arrivals *here,
                               int rows = TILE_ROWS) {
            const unsigned bytes = (unsigned)rows * D * sizeof(bfloat);
            arrive_expecting(here, bytes);
            copy_bulk(to.start(), from, bytes, here);
        };
        const auto room = [&](Arrivals(&free)[STAGES], unsigned tile) {
            if (tile >= STAGES) await(&free[stage_of(tile)], parity_of(tile - STAGES));
        };
        unsigned done = 0; /* tiles */
        for (unsigned turn = 0;; turn++) {
            const unsigned number = next_number(x.numbers);
            if (turn > 0) await(&come.q_free, (turn - 1) % 2);
            number_space = number;
            if (number >= all_pieces) {
                arrive(&come.q);
                return;
            }
            const ForwardPiece<D> piece(x, pieces, number);
            const int tiles = piece.tiles(x, GROUPS - 1), from = max(piece.first, 0);
            const int64_t kv_head = piece.place.b * x.kv_heads + piece.place.h / (unsigned)x.group;
            const bfloat *const q =
                static_cast<const bfloat *>(x.q) + (piece.head * x.padded_queries + from) * D;
            const bfloat *const k = static_cast<const bfloat *>(x.k) + kv_head * x.padded_keys * D;
            const bfloat *const v = static_cast<const bfloat *>(x.v) + kv_head * x.padded_keys * D;
            bring({memory, q_tile.chunks + piece.idle * GROUP_ROWS * PANEL_CHUNKS}, q, &come.q,
                  min(piece.first + ROWS, x.padded_queries) - from);
            for (int tile = 0; tile <= tiles; tile++) {
                const unsigned now = done + (unsigned)tile, before = now - 1;
                if (tile < tiles) {
                    room(come.k_free, now);
                    bring(k_tile(now), k + (int64_t)tile * TILE, &come.k[stage_of(now)]);
                }
                if (tile == 0) continue; /* values are needed one turn later */
                room(come.v_free, before);
                bring(v_tile(before), v + (int64_t)(tile - 1) * TILE, &come.v[stage_of(before)]);
            }
            done += (unsigned)tiles;
        }
    }

    take_registers<S::GROUP_REGISTERS>();
    const int row = (int)lane_row();
    float o[D / 8][4], s[KEYS / 8][4] = {};
    float largest[2], sum[2], before[2];
    ProductsOfBf16::A p[KEYS / 16];
    unsigned done = 0;
    const auto ask_scores = [&](int tile) {
        const unsigned now = done + (unsigned)tile;
        await(&come.k[stage_of(now)], parity_of(now));
        hold(s);
        begin_products();
        multiply_rows<KEYS, D>(s, q_tile, group * GROUP_ROWS, k_tile(now), 0);
        end_products();
    };
    const auto await_values = [&](int tile) {
        const unsigned now = done + (unsigned)tile;
        await(&come.v[stage_of(now)], parity_of(now));
    };
    const auto add_values = [&](int tile) {
        const unsigned now = done + (unsigned)tile;
        hold(o);
        begin_products();
#pragma unroll
        for (unsigned step = 0; step < KEYS / 16; step++)
            multiply_registers<D, true, false>(o, p[step].r, v_tile(now).columns(step));
        end_products();
    };
    const auto release = [&](Arrivals *free) {
        if (threadIdx.x % WARP == 0) arrive(free);
    };
    const auto release_tile = [&](Arrivals(&free)[STAGES], int tile) {
        release(&free[stage_of(done + (unsigned)tile)]);
    };
    const auto pack = [&]() {
#pragma unroll
        for (int step = 0; step < KEYS / 16; step++)
            ProductsOfBf16::from_sums(p[step], s + 2 * step);
    };

    for (unsigned turn = 0;; turn++) {
        await(&come.q, turn % 2);
        const unsigned number = number_space;
        __syncwarp(); /* all lanes have it, before the first one gives it back */
        if (number >= all_pieces) return;
        const ForwardPiece<D> piece(x, pieces, number);
        const int tiles = piece.tiles(x, group);
        const int warp_first = piece.first + (int)warp * ATTENTION_STRIP;
        /* what its first query sees */
        const int warp_full = attention_seen(x, piece.end, warp_first);
        /* Scores, now here, become weights; before: what sums so far are worth now. */
        const auto weigh = [&](int tile) {
            hold(s);
            release_tile(come.k_free, tile);
            if (tile == tiles - 1) release(&come.q_free);
            const int key = tile * KEYS;
            if (key + KEYS > warp_full) attention_hide(x, piece.end, warp_first + row, key, s);
#pragma unroll
            for (int r = 0; r < 2; r++)
                before[r] = attention_weigh(s, r, x.score_scale, largest[r], sum[r]);
        };
#pragma unroll
        for (int n = 0; n < D / 8; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) o[n][i] = 0;
        for (int r = 0; r < 2; r++) {
            largest[r] = -INFINITY;
            sum[r] = 0;
        }
        if (tiles > 0) {
            ask_scores(0);
            wait_products<0>();
            weigh(0);
            pack();
            await_values(0);
            for (int tile = 1; tile < tiles; tile++) {
                ask_scores(tile);
                add_values(tile - 1);
                wait_products<1>();
                weigh(tile);
                /* here, because ptxas moves waits for products up, but not past a branch: weights
                 * are to be made while the products before run */
                await_values(tile);
                wait_products<0>();
                hold(o);
                release_tile(come.v_free, tile - 1);
#pragma unroll
                for (int n = 0; n < D / 8; n++)
#pragma unroll
                    for (int i = 0; i < 4; i++) o[n][i] *= before[i / 2];
                pack();
            }
            add_values(tiles - 1);
            wait_products<0>();
            hold(o);
            release_tile(come.v_free, tiles - 1);
        } else {
            release(&come.q_free);
        }
        if (group >= piece.idle)
#pragma unroll
            for (int r = 0; r < 2; r++)
                attention_finish(x, piece.place, warp_first + row + r * 8, o, r, largest[r],
                                 sum[r]);
        /* tiles that only other groups see, and would wait for */
        const int others = piece.tiles(x, GROUPS - 1);
        for (int tile = tiles; tile < others; tile++) {
            const unsigned now = done + (unsigned)tile;
            await(&come.k[stage_of(now)], parity_of(now));
            release_tile(come.k_free, tile);
            await_values(tile);
            release_tile(come.v_free, tile);
        }
        done += (unsigned)others;
    }
}

template <int D> static void launch_forward(const Run *run, const AttentionCall &x) {
    typedef WarpgroupForward<D> S;
    const unsigned pieces = blocks_for(x.queries, S::ROWS) * (unsigned)(x.batch * x.heads);
    LAUNCH(run, (forward_warpgroups<D>), std::min(pieces, (unsigned)state_of(run)->processors),
           S::THREADS, S::SHARED, x);
}

void attention_forward_warpgroups(const Run *run, const AttentionCall &x) {
    if (x.width <= 64)
        launch_forward<64>(run, x);
    else
        launch_forward<128>(run, x);
}
