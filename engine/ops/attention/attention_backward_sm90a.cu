/* Backward on Hopper, bf16, heads of up to 64 or 128, without dropout: all three gradients by one
 * kernel, five products where scores are made once. A block owns 128 keys of one head, half of them
 * each of its warpgroups, and walks over the queries that see them, 64 a turn:
 *     P = exp2(K Q^T - log_sum)    dS = P (V dO^T - delta)
 *     dV += P dO    dK += scale dS Q    dQ += scale dS^T K
 * Scores have keys as rows, so that P and dS are operands as they lie in the registers. dS goes to
 * shared memory as well, transposed, where both groups' keys meet in a part of dQ. One thread adds
 * that part to sums in device memory, once the block with the next keys has added its own: last
 * keys first, so sums have the same bits in every run. Blocks begin in that order, too (what they
 * wait for has begun), and those with the last keys have the fewest queries: causal blocks come to
 * a query one after the other by themselves. The order is FlashAttention-3's for runs that repeat
 * (arXiv 2407.08608 and its released code). */
#include "engine/cuda/handover.cuh"
#include "engine/cuda/warpgroup.cuh"
#include "engine/ops/attention/attention.cuh"

constexpr int GROUPS = 2, GROUP_ROWS = 64, GROUP = WARPGROUP, KEYS = TILE_ROWS,
              QUERIES = ATTENTION_TURN;
constexpr int GROUP_WARPS = GROUP / WARP, WARPS = GROUPS * GROUP_WARPS;
/* One group more brings the tiles and takes dQ away. Registers of a thread: 168 at the launch, then
 * these. */
constexpr int BACKWARD_THREADS = (GROUPS + 1) * WARPGROUP, GROUP_REGISTERS = 240,
              OTHER_REGISTERS = 24;
static_assert(GROUPS * GROUP_ROWS == KEYS && (int)ATTENTION_ROWS == (int)TILE_ROWS, "tiles");

/* Stages: queries and dO under way, as many as shared memory holds; parts of dQ under way. */
constexpr int MOST_STAGES = 4, SUM_STAGES = 2;
template <int D> struct WarpgroupBackward {
    static constexpr int PANELS = D / PANEL;
    static constexpr int STAGES = D == 64 ? MOST_STAGES : 2;
    /* Whether registers hold K and V as well. Read from shared memory again and again, they would
     * take as long as products of 64 columns. */
    static constexpr bool OWN_IN_REGISTERS = D == 64;
    static constexpr int SUMS = QUERIES * D; /* floats */
    static constexpr unsigned KEY_BYTES = KEYS * D * sizeof(bfloat);
    static constexpr unsigned QUERY_BYTES = QUERIES * D * sizeof(bfloat);
    static constexpr unsigned NOTE_BYTES = QUERIES * sizeof(AttentionNote);
    /* Where things lie, in chunks of 16 bytes: K, V, stages of Q and dO, two of dS, sums, notes. */
    static constexpr unsigned CHUNK = CHUNK_WIDTH * sizeof(bfloat);
    static constexpr unsigned VALUES = KEY_BYTES / CHUNK, STAGE = 2 * VALUES;
    static constexpr unsigned WEIGHTS = STAGE + STAGES * 2 * QUERY_BYTES / CHUNK;
    static constexpr unsigned WEIGHTS_BYTES = QUERIES * (unsigned)KEYS * sizeof(bfloat);
    static constexpr unsigned SUM = WEIGHTS + 2 * WEIGHTS_BYTES / CHUNK;
    static constexpr unsigned SUM_BYTES = SUMS * (unsigned)sizeof(float);
    static constexpr unsigned NOTE = SUM + SUM_STAGES * SUM_BYTES / CHUNK;
    static constexpr unsigned SHARED = TILE_ALIGNMENT + NOTE * CHUNK + STAGES * NOTE_BYTES;
};

struct BackwardArrivals {
    Arrivals own, come[MOST_STAGES], free[MOST_STAGES]; /* of queries */
    Arrivals weights[2], sums[SUM_STAGES], sums_free[SUM_STAGES];
};

/* What a block works at: its keys, and the queries that see them, those of each head that shares
 * them after the other. */
struct BackwardPiece {
    AttentionPlace place;
    int64_t kv_head, query_head; /* of all; the first that shares the keys */
    int first, end;              /* key; visible keys of the sequence */
    int from, tiles;             /* of queries, a turn each */
    int turns;                   /* of all heads */

    __device__ BackwardPiece(const AttentionCall &x, unsigned number)
        : place(attention_place(x, x.kv_heads, (x.keys + KEYS - 1) / KEYS, true, number)),
          kv_head(place.b * x.kv_heads + place.h),
          query_head(place.b * x.heads + place.h * x.group), first(place.tile * KEYS),
          end(attention_end(x, place.b)) {
        from = x.causal && first > x.offset ? (first - x.offset) / QUERIES : 0;
        tiles = first < end ? max((x.queries + QUERIES - 1) / QUERIES - from, 0) : 0;
        turns = tiles * (int)x.group;
    }
    /* How many blocks, those of later keys, add to the same queries before. */
    __device__ int before(const AttentionCall &x, int tile) const {
        return (attention_seen(x, end, (tile + 1) * QUERIES - 1) - 1) / KEYS - place.tile;
    }
};

/* One thread: brings keys, values, and then queries as soon as there is room. */
template <int D>
__device__ static inline void bring_tiles(const AttentionCall &x, const BackwardPiece &piece,
                                          bfloat *memory, BackwardArrivals &arrivals) {
    typedef WarpgroupBackward<D> S;
    const int64_t key_at = (piece.kv_head * x.padded_keys + piece.first) * D;
    arrive_expecting(&arrivals.own, 2 * S::KEY_BYTES);
    copy_bulk(memory, static_cast<const bfloat *>(x.k) + key_at, S::KEY_BYTES, &arrivals.own);
    copy_bulk(memory + S::VALUES * CHUNK_WIDTH, static_cast<const bfloat *>(x.v) + key_at,
              S::KEY_BYTES, &arrivals.own);
    int64_t head = piece.query_head;
    int tile = piece.from;
    for (int turn = 0; turn < piece.turns; turn++) {
        const unsigned stage = (unsigned)turn % S::STAGES, use = (unsigned)turn / S::STAGES;
        Arrivals *const here = &arrivals.come[stage];
        if (use > 0) await(&arrivals.free[stage], (use - 1) % 2);
        arrive_expecting(here, 2 * S::QUERY_BYTES + S::NOTE_BYTES);
        const int row = tile * QUERIES, within = row % TILE_ROWS;
        const int64_t at = (head * x.padded_queries + row - within) * D + within * PANEL;
        bfloat *const to = memory + S::STAGE * CHUNK_WIDTH + stage * 2 * QUERIES * D;
        constexpr int PART = QUERIES * PANEL; /* of a panel */
#pragma unroll
        for (int panel = 0; panel < S::PANELS; panel++) {
            const int64_t from = at + panel * TILE_ROWS * PANEL;
            copy_bulk(to + panel * PART, static_cast<const bfloat *>(x.q) + from,
                      PART * sizeof(bfloat), here);
            copy_bulk(to + (S::PANELS + panel) * PART, static_cast<const bfloat *>(x.g) + from,
                      PART * sizeof(bfloat), here);
        }
        copy_bulk(memory + S::NOTE * CHUNK_WIDTH + stage * (S::NOTE_BYTES / sizeof(bfloat)),
                  x.notes + head * x.padded_queries + row, S::NOTE_BYTES, here);
        if (++tile == piece.from + piece.tiles) tile = piece.from, head++;
    }
}

/* One thread: adds the block's parts of dQ, in its turn. The next waits while the last is added. */
template <int D>
__device__ static inline void add_sums(const AttentionCall &x, const BackwardPiece &piece,
                                       bfloat *memory, BackwardArrivals &arrivals) {
    typedef WarpgroupBackward<D> S;
    const float *const sums = reinterpret_cast<const float *>(memory + S::SUM * CHUNK_WIDTH);
    const int tiles = x.padded_queries / QUERIES; /* of a head */
    int64_t number = piece.query_head * tiles + piece.from, last = 0;
    int tile = piece.from;
    for (int turn = 0; turn < piece.turns; turn++) {
        const unsigned stage = (unsigned)turn % SUM_STAGES, use = (unsigned)turn / SUM_STAGES;
        const int before = piece.before(x, tile);
        await_count(x.added + number, (unsigned)before);
        known_for_bulk();
        await(&arrivals.sums[stage], use % 2);
        if (before == 0)
            store_bulk(x.query_sums + number * S::SUMS, sums + stage * S::SUMS, S::SUM_BYTES);
        else
            add_bulk(x.query_sums + number * S::SUMS, sums + stage * S::SUMS, S::SUM_BYTES);
        end_bulk();
        bulk_read();
        arrive(&arrivals.sums_free[stage]);
        if (turn > 0) {
            wait_bulk<1>();
            count_up(x.added + last);
        }
        last = number++;
        if (++tile == piece.from + piece.tiles) tile = piece.from, number += tiles - piece.tiles;
    }
    if (piece.turns > 0) {
        wait_bulk<0>();
        count_up(x.added + last);
    }
}

template <int D>
KERNEL void __launch_bounds__(BACKWARD_THREADS, 1) backward_warpgroups(const AttentionCall x) {
    typedef WarpgroupBackward<D> S;
    __shared__ BackwardArrivals arrivals;
    bfloat *const memory = reinterpret_cast<bfloat *>(tile_memory());
    const unsigned warp = __shfl_sync(0xFFFFFFFFu, threadIdx.x / WARP, 0);
    const unsigned group = warp / GROUP_WARPS;
    if (threadIdx.x == 0) {
        arrivals_open(&arrivals.own, 1);
        for (int s = 0; s < S::STAGES; s++) {
            arrivals_open(&arrivals.come[s], 1);
            arrivals_open(&arrivals.free[s], WARPS);
        }
        for (int s = 0; s < 2; s++) arrivals_open(&arrivals.weights[s], WARPS);
        for (int s = 0; s < SUM_STAGES; s++) {
            arrivals_open(&arrivals.sums[s], S::PANELS * GROUP_WARPS);
            arrivals_open(&arrivals.sums_free[s], 1);
        }
        arrivals_opened();
    }
    const BackwardPiece piece(x, take_number(x.numbers)); /* all threads meet here */

    if (group == GROUPS) {
        keep_registers<OTHER_REGISTERS>();
        if (threadIdx.x == GROUPS * WARPGROUP && piece.turns > 0)
            bring_tiles<D>(x, piece, memory, arrivals);
        if (threadIdx.x == GROUPS * WARPGROUP + WARP && x.dq)
            add_sums<D>(x, piece, memory, arrivals);
        return;
    }

    take_registers<GROUP_REGISTERS>();
    const WarpgroupTile<> k_tile = {memory, 0}, v_tile = {memory, S::VALUES};
    typedef WarpgroupTile<QUERIES> QueryTile;
    constexpr unsigned QUERY_CHUNKS = S::QUERY_BYTES / S::CHUNK;
    const auto stage_of = [&](int turn) { return (unsigned)turn % S::STAGES; };
    const auto q_tile = [&](int turn) {
        return QueryTile{memory, S::STAGE + stage_of(turn) * 2 * QUERY_CHUNKS};
    };
    const auto g_tile = [&](int turn) {
        return QueryTile{memory, S::STAGE + (stage_of(turn) * 2 + 1) * QUERY_CHUNKS};
    };
    const auto weights_tile = [&](int turn) {
        return QueryTile{memory, S::WEIGHTS + (unsigned)turn % 2 * (S::WEIGHTS_BYTES / S::CHUNK)};
    };
    const auto notes_of = [&](int turn, int n) {
        const AttentionNotes *const notes =
            reinterpret_cast<const AttentionNotes *>(memory + S::NOTE * CHUNK_WIDTH);
        return notes[stage_of(turn) * (QUERIES / 2) + n * 4 + lane_column() / 2];
    };

    const int row = (int)lane_row(), column = (int)lane_column();
    const int warp_first = piece.first + (int)warp * ATTENTION_STRIP,
              warp_last = warp_first + ATTENTION_STRIP - 1;
    /* Where the lane's row of dS^T, a chunk of eight keys, lies in a tile of 64 queries. */
    const unsigned lane = threadIdx.x % WARP;
    bfloat *const own_weights =
        weights_tile(0).start() + group * QUERIES * PANEL +
        tiled_place<PANEL, QUERIES>((int)(lane / 16 * 8 + lane % 8),
                                    (int)(warp % GROUP_WARPS * ATTENTION_STRIP + lane / 8 % 2 * 8));
    float dk[D / 8][4] = {}, dv[D / 8][4] = {}, s[QUERIES / 8][4], ds[QUERIES / 8][4];
    ProductsOfBf16::A k[S::OWN_IN_REGISTERS ? D / 16 : 1], v[S::OWN_IN_REGISTERS ? D / 16 : 1];
    ProductsOfBf16::A p_rounded[QUERIES / 16], ds_rounded[QUERIES / 16];
    /* The turn's, where registers hold them: read once. */
    constexpr bool KEEP_NOTES = S::OWN_IN_REGISTERS;
    AttentionNotes notes[KEEP_NOTES ? QUERIES / 8 : 1] = {};
    int query = piece.from * QUERIES; /* the turn's first */

    const auto ask = [&](float(&scores)[QUERIES / 8][4], const auto &own, const auto &own_tile,
                         const QueryTile &tile) {
        if constexpr (S::OWN_IN_REGISTERS)
            multiply_rows<QUERIES, D>(scores, own, tile, 0);
        else
            multiply_rows<QUERIES, D>(scores, own_tile, group * GROUP_ROWS, tile, 0);
        end_products();
    };
    /* sums += weights times rows of a tile */
    const auto add = [&](float(&sums)[D / 8][4], const ProductsOfBf16::A *weights,
                         const QueryTile &tile) {
        hold(sums);
        begin_products();
#pragma unroll
        for (unsigned step = 0; step < QUERIES / 16; step++)
            multiply_registers<D, true, false>(sums, weights[step].r, tile.columns(step));
        end_products();
    };
    const auto weigh = [&](int turn) {
        const bool masked = warp_last >= piece.end || (x.causal && query + x.offset < warp_last);
#pragma unroll
        for (int n = 0; n < QUERIES / 8; n++) {
            const AttentionNotes note = notes_of(turn, n);
            if (KEEP_NOTES) notes[n] = note;
#pragma unroll
            for (int e = 0; e < 4; e++)
                s[n][e] = fast_exp2(s[n][e] * x.score_scale - note.of[e % 2].log_sum);
        }
        if (masked) {
#pragma unroll
            for (int r = 0; r < 2; r++) {
                const int key = warp_first + row + r * 8;
                /* Queries before this do not see the key. */
                int bound = x.causal ? key - x.offset - query : 0;
                if (key >= piece.end) bound = QUERIES;
#pragma unroll
                for (int n = 0; n < QUERIES / 8; n++)
#pragma unroll
                    for (int e = 0; e < 2; e++)
                        if (n * 8 + e < bound - column) s[n][2 * r + e] = 0;
            }
        }
#pragma unroll
        for (int step = 0; step < QUERIES / 16; step++)
            ProductsOfBf16::from_sums(p_rounded[step], s + 2 * step);
        query += QUERIES;
        if (query >= (piece.from + piece.tiles) * QUERIES) query = piece.from * QUERIES;
    };
    const auto differentiate = [&](int turn) {
#pragma unroll
        for (int n = 0; n < QUERIES / 8; n++) {
            const AttentionNotes note = KEEP_NOTES ? notes[n] : notes_of(turn, n);
#pragma unroll
            for (int e = 0; e < 4; e++) ds[n][e] = s[n][e] * (ds[n][e] - note.of[e % 2].delta);
        }
#pragma unroll
        for (int step = 0; step < QUERIES / 16; step++)
            ProductsOfBf16::from_sums(ds_rounded[step], ds + 2 * step);
    };
    const auto await_weights = [&](int turn) {
        await(&arrivals.weights[turn % 2], (unsigned)turn / 2 % 2);
    };
    /* For both groups' products. What was read from the tile two turns ago has been: those who read
     * it have arrived with the other tile since, which all have waited for, or do so now. */
    const auto show_weights = [&](int turn) {
        if (S::PANELS < GROUPS && turn > 0) await_weights(turn - 1);
        bfloat *const to = own_weights + (unsigned)turn % 2 * (QUERIES * KEYS);
#pragma unroll
        for (int step = 0; step < QUERIES / 16; step++)
            store_matrices_transposed(to + step * 16 * PANEL, ds_rounded[step].r);
        written_for_products();
        __syncwarp();
        if (lane == 0) arrive(&arrivals.weights[turn % 2]);
    };
    /* A panel of the turn's part of dQ: whose, changes from turn to turn. */
    const auto panel_of = [&](int turn) { return (group + (unsigned)turn) % GROUPS; };
    const auto ask_sums = [&](float(&dq)[PANEL / 8][4], int turn) {
        const QueryTile weights = weights_tile(turn);
        await_weights(turn);
        begin_products();
        multiply_shared<PANEL, false, false>(dq, weights.rows(0, 0),
                                             k_tile.columns(0, panel_of(turn)));
#pragma unroll
        for (unsigned step = 1; step < KEYS / 16; step++)
            multiply_shared<PANEL, true, false>(dq, weights.rows(0, step),
                                                k_tile.columns(step, panel_of(turn)));
        end_products();
    };
    const auto hand_sums = [&](const float(&dq)[PANEL / 8][4], int turn) {
        const unsigned stage = (unsigned)turn % SUM_STAGES, use = (unsigned)turn / SUM_STAGES;
        if (use > 0) await(&arrivals.sums_free[stage], (use - 1) % 2);
        float *const to = reinterpret_cast<float *>(memory + S::SUM * CHUNK_WIDTH) +
                          stage * S::SUMS + panel_of(turn) * (QUERIES * PANEL) +
                          threadIdx.x % WARPGROUP * FOUR;
#pragma unroll
        for (int n = 0; n < PANEL / 8; n++)
            store<FOUR>(to + n * (GROUP * FOUR), {{dq[n][0], dq[n][1], dq[n][2], dq[n][3]}});
        written_for_products();
        __syncwarp();
        if (lane == 0) arrive(&arrivals.sums[stage]);
    };

    /* Begins when the turn's scores are here, ends when those of the next are. MINE: makes a panel
     * of dQ. */
    const auto take_turn = [&]<bool LAST, bool MINE>(int turn) {
        begin_products();
        ask(ds, v, v_tile, g_tile(turn));
        weigh(turn);
        add(dv, p_rounded, g_tile(turn));
        wait_products<1>(); /* for V dO^T, not for dV's */
        hold(ds);
        differentiate(turn);
        if (x.dq) show_weights(turn);
        if (!LAST) await(&arrivals.come[stage_of(turn + 1)], (unsigned)(turn + 1) / S::STAGES % 2);
        add(dk, ds_rounded, q_tile(turn));
        wait_products<1>(); /* for dV's, over by now: their operands' registers are needed */
        hold(dv);
        float dq[PANEL / 8][4];
        if constexpr (MINE) ask_sums(dq, turn);
        if constexpr (!LAST) ask(s, k, k_tile, q_tile(turn + 1));
        wait_products<!LAST>(); /* not for the next scores */
        hold(dk);
        hold(dv);
        __syncwarp(); /* of the notes, each lane has read its own */
        if (lane == 0) arrive(&arrivals.free[stage_of(turn)]);
        if constexpr (MINE) {
            hold(dq);
            hand_sums(dq, turn);
        }
        if constexpr (!LAST) wait_products<0>();
        hold(s);
    };
    const auto take = [&]<bool LAST>(int turn) {
        if (x.dq && panel_of(turn) < S::PANELS)
            take_turn.template operator()<LAST, true>(turn);
        else
            take_turn.template operator()<LAST, false>(turn);
    };
    if (piece.turns > 0) {
        await(&arrivals.own, 0);
        if constexpr (S::OWN_IN_REGISTERS) {
            k_tile.template load_rows<D>(k, warp * ATTENTION_STRIP);
            v_tile.template load_rows<D>(v, warp * ATTENTION_STRIP);
        }
        await(&arrivals.come[0], 0);
        begin_products();
        ask(s, k, k_tile, q_tile(0));
        wait_products<0>();
        hold(s);
        for (int turn = 0; turn < piece.turns - 1; turn++) take.template operator()<false>(turn);
        take.template operator()<true>(piece.turns - 1);
    }

#pragma unroll
    for (int r = 0; r < 2; r++) {
        const int key = warp_first + row + r * 8;
        if (key >= x.keys) continue;
        const int64_t line = piece.place.b * x.keys + key, at = piece.place.h * x.width;
#pragma unroll
        for (int n = 0; n < D / 8; n++) {
            if (x.dk)
                attention_put(x.dk + line * x.k_row + at, n * 8 + column, x.width,
                              dk[n][2 * r] * x.scale, dk[n][2 * r + 1] * x.scale, x.add_k);
            if (x.dv)
                attention_put(x.dv + line * x.v_row + at, n * 8 + column, x.width, dv[n][2 * r],
                              dv[n][2 * r + 1], x.add_v);
        }
    }
}

/* dQ = or += scale times its sums, which lie as the threads of a warpgroup held them: a panel's 64
 * columns of 64 queries a block. */
template <int D> KERNEL void __launch_bounds__(WARPGROUP) put_sums(const AttentionCall x) {
    constexpr unsigned PANELS = WarpgroupBackward<D>::PANELS;
    const unsigned tiles = (unsigned)x.padded_queries / QUERIES;
    const unsigned panel = blockIdx.x % PANELS, number = blockIdx.x / PANELS;
    const int tile = (int)(number % tiles);
    const int64_t head = number / tiles, b = head / x.heads, h = head % x.heads;
    const bool seen =
        attention_seen(x, attention_end(x, b), (tile + 1) * QUERIES - 1) > 0; /* by any query */
    const float *const from =
        x.query_sums + (int64_t)blockIdx.x * (QUERIES * PANEL) + threadIdx.x * FOUR;
    Four sums[PANEL / 8] = {};
    if (seen)
#pragma unroll
        for (int n = 0; n < PANEL / 8; n++) sums[n] = load<FOUR>(from + n * (GROUP * FOUR));
#pragma unroll
    for (int r = 0; r < 2; r++) {
        const int query =
            tile * QUERIES + (int)(threadIdx.x / WARP) * ATTENTION_STRIP + (int)lane_row() + r * 8;
        if (query >= x.queries) continue;
        float *const to = x.dq + (b * x.queries + query) * x.q_row + h * x.width;
#pragma unroll
        for (int n = 0; n < PANEL / 8; n++)
            attention_put(to, panel * PANEL + n * 8 + lane_column(), x.width,
                          sums[n].of[2 * r] * x.scale, sums[n].of[2 * r + 1] * x.scale, x.add_q);
    }
}

template <int D> static void launch_backward(const Run *run, const AttentionCall &x) {
    LAUNCH(run, backward_warpgroups<D>, blocks_for(x.keys, KEYS) * (unsigned)(x.batch * x.kv_heads),
           BACKWARD_THREADS, WarpgroupBackward<D>::SHARED, x);
    if (x.dq)
        LAUNCH(run, put_sums<D>,
               (unsigned)(x.batch * x.heads) * (unsigned)(x.padded_queries / QUERIES) *
                   (unsigned)WarpgroupBackward<D>::PANELS,
               WARPGROUP, 0, x);
}

void attention_backward_warpgroups(const Run *run, const AttentionCall &x) {
    if (x.width <= 64)
        launch_backward<64>(run, x);
    else
        launch_backward<128>(run, x);
}
