/* Backward on Hopper, bf16, heads of up to 64 or 128, without dropout: dK and dV, then dQ, by one
 * kernel, whose blocks own 128 rows of one side (keys; or queries) and walk over the other. With
 * A, B the own rows and X, Y those of the other side (K, V and Q, dO; or Q, dO and K, V):
 *     P = exp2(A X^T - log_sum)    dS = P (B Y^T - delta)    dA = scale dS X    dV = P Y
 * Scores have the own rows as rows, so that weights are operands as they lie in the registers. */
#include "engine/cuda/warpgroup.cuh"
#include "engine/ops/attention/attention.cuh"

constexpr int GROUPS = 2, GROUP_ROWS = 64, STAGES = 2;
/* Rows of the other side whose scores are made at a time: as many as registers hold. */
template <int D, bool OF_KEYS> constexpr int columns_at_a_time = D == 64 && !OF_KEYS ? 128 : 64;
/* Whether registers hold A and B as well. Read from shared memory again and again, they would take
 * as long as products of 64 columns. */
template <int D, bool OF_KEYS> constexpr bool own_in_registers = OF_KEYS == (D == 64);
/* One group more brings the tiles. Registers of a thread: 168 at the launch, then these. */
constexpr int BACKWARD_THREADS = (GROUPS + 1) * WARPGROUP, GROUP_REGISTERS = 240,
              BRINGER_REGISTERS = 24;
static_assert(GROUPS * GROUP_ROWS == TILE_ROWS && (int)ATTENTION_ROWS == (int)TILE_ROWS, "tiles");

template <int D> constexpr int tile_bytes = TILE_ROWS *D *(int)sizeof(bfloat);
constexpr int note_bytes = TILE_ROWS * (int)sizeof(AttentionNote);
/* A and B, stages of X and Y, notes of the stages' queries. */
template <int D>
constexpr int backward_shared = TILE_ALIGNMENT +
                                (2 + 2 * STAGES) * tile_bytes<D> + STAGES *note_bytes;

struct BackwardArrivals {
    Arrivals own, other[STAGES], free[STAGES];
};

template <int D, bool OF_KEYS>
KERNEL void __launch_bounds__(BACKWARD_THREADS, 1) backward_warpgroups(const AttentionCall x) {
    constexpr int TILE = TILE_ROWS * D, COLUMNS = columns_at_a_time<D, OF_KEYS>;
    constexpr int PARTS = TILE_ROWS / COLUMNS;      /* of a tile, a turn each */
    constexpr unsigned CHUNKS = TILE / CHUNK_WIDTH; /* of a tile */
    __shared__ BackwardArrivals come;
    bfloat *const memory = reinterpret_cast<bfloat *>(tile_memory());
    const WarpgroupTile a_tile = {memory, 0}, b_tile = {memory, CHUNKS};
    const auto x_tile = [&](unsigned stage) {
        return WarpgroupTile{memory, (2 + 2 * stage) * CHUNKS};
    };
    const auto y_tile = [&](unsigned stage) {
        return WarpgroupTile{memory, (3 + 2 * stage) * CHUNKS};
    };
    const auto stage_notes = [&](unsigned stage) {
        return reinterpret_cast<AttentionNotes *>(memory + (2 + 2 * STAGES) * TILE) +
               stage * (TILE_ROWS / 2);
    };
    const int64_t own_heads = OF_KEYS ? x.kv_heads : x.heads;
    const int own_rows = OF_KEYS ? x.keys : x.queries;
    const AttentionPlace place =
        attention_place(x, own_heads, (own_rows + TILE_ROWS - 1) / TILE_ROWS, !OF_KEYS);
    const int64_t head = place.b * own_heads + place.h;
    const int first = place.tile * TILE_ROWS;
    const int end = attention_end(x, place.b);
    /* The first query that sees the first key; the last key that the last query sees. Tiles of the
     * other side from there on, or up to there; those of keys again for each head of the group. */
    const int seen_from = OF_KEYS && x.causal && first > x.offset ? first - x.offset : 0;
    const int last = first + TILE_ROWS < x.queries ? first + TILE_ROWS - 1 : x.queries - 1;
    const int seen_end = OF_KEYS ? (first < end ? x.queries : 0) : attention_seen(x, end, last);
    const int from = seen_from / TILE_ROWS;
    const int tiles =
        seen_end > from * TILE_ROWS ? (seen_end + TILE_ROWS - 1) / TILE_ROWS - from : 0;
    const int all_tiles = OF_KEYS ? tiles * (int)x.group : tiles;
    const unsigned warp = __shfl_sync(0xFFFFFFFFu, threadIdx.x / WARP, 0), group = warp / 4;

    if (threadIdx.x == 0) {
        arrivals_open(&come.own, 1);
        for (int s = 0; s < STAGES; s++) {
            arrivals_open(&come.other[s], 1);
            arrivals_open(&come.free[s], GROUPS * WARPGROUP / WARP);
        }
        arrivals_opened();
    }
    __syncthreads();

    if (group == GROUPS) {
        keep_registers<BRINGER_REGISTERS>();
        if (threadIdx.x % WARPGROUP != 0 || all_tiles == 0) return;
        const auto rows = [&](const void *copy, int64_t of_head, int padded, int row) {
            return static_cast<const bfloat *>(copy) + (of_head * padded + row) * D;
        };
        const int own_padded = OF_KEYS ? x.padded_keys : x.padded_queries;
        arrive_expecting(&come.own, 2 * tile_bytes<D>);
        copy_bulk(a_tile.start(), rows(OF_KEYS ? x.k : x.q, head, own_padded, first), tile_bytes<D>,
                  &come.own);
        copy_bulk(b_tile.start(), rows(OF_KEYS ? x.v : x.g, head, own_padded, first), tile_bytes<D>,
                  &come.own);
        const int padded = OF_KEYS ? x.padded_queries : x.padded_keys;
        int64_t other = OF_KEYS ? place.b * x.heads + place.h * x.group
                                : place.b * x.kv_heads + place.h / x.group;
        int row = from * TILE_ROWS;
        for (int tile = 0; tile < all_tiles; tile++) {
            const unsigned stage = (unsigned)tile % STAGES, turn = (unsigned)tile / STAGES;
            Arrivals *const here = &come.other[stage];
            if (turn > 0) await(&come.free[stage], (turn - 1) % 2);
            arrive_expecting(here, 2 * tile_bytes<D> + (OF_KEYS ? note_bytes : 0));
            copy_bulk(x_tile(stage).start(), rows(OF_KEYS ? x.q : x.k, other, padded, row),
                      tile_bytes<D>, here);
            copy_bulk(y_tile(stage).start(), rows(OF_KEYS ? x.g : x.v, other, padded, row),
                      tile_bytes<D>, here);
            if (OF_KEYS)
                copy_bulk(stage_notes(stage), x.notes + other * padded + row, note_bytes, here);
            row += TILE_ROWS;
            if (row >= (from + tiles) * TILE_ROWS) row = from * TILE_ROWS, other++;
        }
        return;
    }

    take_registers<GROUP_REGISTERS>();
    const int row = (int)lane_row(), column = (int)lane_column();
    const int warp_first = first + (int)warp * ATTENTION_STRIP,
              warp_last = warp_first + ATTENTION_STRIP - 1;
    float da[D / 8][4] = {}, dv[OF_KEYS ? D / 8 : 1][4] = {};
    float s[COLUMNS / 8][4], ds[COLUMNS / 8][4];
    ProductsOfBf16::A a[D / 16], b[D / 16], p_rounded[COLUMNS / 16], ds_rounded[COLUMNS / 16];
    AttentionNote own_notes[2] = {};
    if (!OF_KEYS)
        for (int r = 0; r < 2; r++)
            own_notes[r] = x.notes[head * x.padded_queries + warp_first + row + r * 8];
    /* The turn's, where registers hold them: read once. */
    constexpr bool KEEP_NOTES = OF_KEYS && D == 64;
    AttentionNotes far_notes[KEEP_NOTES ? COLUMNS / 8 : 1] = {};

    /* A turn: its tile, and the first of its columns in the tile and of all. */
    const auto tile_of = [&](int turn) { return (unsigned)turn / PARTS; };
    const auto stage_of = [&](int turn) { return tile_of(turn) % STAGES; };
    const auto part_of = [&](int turn) { return (unsigned)turn % PARTS * COLUMNS; };
    int other = from * TILE_ROWS;

    const auto ask = [&](float(&scores)[COLUMNS / 8][4], const ProductsOfBf16::A(&rows)[D / 16],
                         const WarpgroupTile &rows_tile, const WarpgroupTile &tile, unsigned part) {
        if constexpr (own_in_registers<D, OF_KEYS>)
            multiply_rows<COLUMNS, D>(scores, rows, tile, part);
        else
            multiply_rows<COLUMNS, D>(scores, rows_tile, group * GROUP_ROWS, tile, part);
        end_products();
    };
    /* sums += weights times rows of a tile */
    const auto add = [&](float(&sums)[D / 8][4], const ProductsOfBf16::A *weights,
                         const WarpgroupTile &tile, unsigned part) {
        hold(sums);
        begin_products();
#pragma unroll
        for (unsigned step = 0; step < COLUMNS / 16; step++)
            multiply_registers<D, true, false>(sums, weights[step].r,
                                               tile.columns(part / 16 + step));
        end_products();
    };
    const auto notes_of = [&](int turn, int n) {
        return OF_KEYS ? stage_notes(stage_of(turn))[part_of(turn) / 2 + n * 4 + column / 2]
                       : AttentionNotes{};
    };
    const auto weigh = [&](int turn) {
        const bool masked = OF_KEYS ? warp_last >= end || (x.causal && other + x.offset < warp_last)
                                    : other + COLUMNS > attention_seen(x, end, warp_first);
#pragma unroll
        for (int n = 0; n < COLUMNS / 8; n++) {
            const AttentionNotes note = notes_of(turn, n);
            if (KEEP_NOTES) far_notes[n] = note;
#pragma unroll
            for (int e = 0; e < 4; e++)
                s[n][e] = fast_exp2(s[n][e] * x.score_scale -
                                    (OF_KEYS ? note.of[e % 2].log_sum : own_notes[e / 2].log_sum));
        }
        if (masked) {
#pragma unroll
            for (int r = 0; r < 2; r++) {
                const int i = warp_first + row + r * 8;
                /* Queries before this do not see key i; or keys from this on are not seen. */
                int bound = OF_KEYS ? 0 : attention_seen(x, end, i) - other;
                if (OF_KEYS && x.causal) bound = i - x.offset - other;
                if (OF_KEYS && i >= end) bound = COLUMNS;
#pragma unroll
                for (int n = 0; n < COLUMNS / 8; n++)
#pragma unroll
                    for (int e = 0; e < 2; e++) {
                        const bool before = n * 8 + e < bound - column;
                        if (before == OF_KEYS) s[n][2 * r + e] = 0;
                    }
            }
        }
        if constexpr (OF_KEYS)
#pragma unroll
            for (int step = 0; step < COLUMNS / 16; step++)
                ProductsOfBf16::from_sums(p_rounded[step], s + 2 * step);
        other += COLUMNS;
        if (OF_KEYS && other >= (from + tiles) * TILE_ROWS) other = from * TILE_ROWS;
    };
    const auto differentiate = [&](int turn) {
#pragma unroll
        for (int n = 0; n < COLUMNS / 8; n++) {
            const AttentionNotes note = KEEP_NOTES ? far_notes[n] : notes_of(turn, n);
#pragma unroll
            for (int e = 0; e < 4; e++)
                ds[n][e] = s[n][e] *
                           (ds[n][e] - (OF_KEYS ? note.of[e % 2].delta : own_notes[e / 2].delta));
        }
#pragma unroll
        for (int step = 0; step < COLUMNS / 16; step++)
            ProductsOfBf16::from_sums(ds_rounded[step], ds + 2 * step);
    };

    const int turns = OF_KEYS ? all_tiles * PARTS : (seen_end + COLUMNS - 1) / COLUMNS;
    /* Whether a turn's B Y^T is asked for with its scores, in the turn before. Where there are two
     * kinds of sums, ptxas does not see that this is safe and would wait for each product. */
    constexpr bool BOTH_AHEAD = !OF_KEYS;
    const auto ask_ahead = [&](int turn) {
        ask(s, a, a_tile, x_tile(stage_of(turn)), part_of(turn));
        if (BOTH_AHEAD) ask(ds, b, b_tile, y_tile(stage_of(turn)), part_of(turn));
        wait_products<BOTH_AHEAD>();
        hold(s);
    };
    /* Begins when the turn's scores are here, ends when those of the next are. */
    const auto take_turn = [&]<bool LAST>(int turn) {
        const unsigned stage = stage_of(turn), part = part_of(turn);
        if (!BOTH_AHEAD) {
            begin_products();
            ask(ds, b, b_tile, y_tile(stage), part);
        }
        weigh(turn);
        if constexpr (OF_KEYS) add(dv, p_rounded, y_tile(stage), part);
        wait_products<OF_KEYS>(); /* for B Y^T, not for dV's */
        hold(ds);
        differentiate(turn);
        const bool of_next = !LAST && part_of(turn + 1) == 0;
        if (of_next) await(&come.other[stage_of(turn + 1)], tile_of(turn + 1) / STAGES % 2);
        add(da, ds_rounded, x_tile(stage), part);
        if (LAST)
            wait_products<0>();
        else
            ask_ahead(turn + 1);
        hold(da);
        hold(dv);
        if (OF_KEYS && of_next) __syncwarp(); /* of the notes, each lane has read its own */
        if (of_next && threadIdx.x % WARP == 0) arrive(&come.free[stage]);
    };
    if (turns > 0) {
        await(&come.own, 0);
        if constexpr (own_in_registers<D, OF_KEYS>) {
            a_tile.load_rows<D>(a, warp * ATTENTION_STRIP);
            b_tile.load_rows<D>(b, warp * ATTENTION_STRIP);
        }
        await(&come.other[0], 0);
        begin_products();
        ask_ahead(0);
        for (int turn = 0; turn < turns - 1; turn++) take_turn.template operator()<false>(turn);
        take_turn.template operator()<true>(turns - 1);
    }

    float *const to_a = OF_KEYS ? x.dk : x.dq;
    const int64_t a_row = OF_KEYS ? x.k_row : x.q_row;
#pragma unroll
    for (int r = 0; r < 2; r++) {
        const int i = warp_first + row + r * 8;
        if (i >= own_rows) continue;
        const int64_t line = place.b * own_rows + i, at = place.h * x.width;
#pragma unroll
        for (int n = 0; n < D / 8; n++) {
            if (to_a)
                attention_put(to_a + line * a_row + at, n * 8 + column, x.width,
                              da[n][2 * r] * x.scale, da[n][2 * r + 1] * x.scale,
                              OF_KEYS ? x.add_k : x.add_q);
            if constexpr (OF_KEYS)
                if (x.dv)
                    attention_put(x.dv + line * x.v_row + at, n * 8 + column, x.width, dv[n][2 * r],
                                  dv[n][2 * r + 1], x.add_v);
        }
    }
}

template <int D> static void launch_backward(const Run *run, const AttentionCall &x) {
    if (x.dk || x.dv)
        LAUNCH(run, (backward_warpgroups<D, true>),
               blocks_for(x.keys, TILE_ROWS) * (unsigned)(x.batch * x.kv_heads), BACKWARD_THREADS,
               backward_shared<D>, x);
    if (x.dq)
        LAUNCH(run, (backward_warpgroups<D, false>),
               blocks_for(x.queries, TILE_ROWS) * (unsigned)(x.batch * x.heads), BACKWARD_THREADS,
               backward_shared<D>, x);
}

void attention_backward_warpgroups(const Run *run, const AttentionCall &x) {
    if (x.width <= 64)
        launch_backward<64>(run, x);
    else
        launch_backward<128>(run, x);
}
