/* Forward, piece by piece: the first writes the result, later ones join theirs to it. */
#include <omp.h>

#include "engine/ops/attention/attention_forward_tile.h"
#include "engine/ops/pattern_attention/pattern_attention_kernels.h"
#include "engine/ops/pattern_attention/pattern_attention_tile.h"

static const AttentionDropout no_dropout = {0};

/* Queries first .. first+count-1 of a group. */
typedef struct Chunk {
    const OpCall *call;
    const PatternAttention *attributes;
    int piece;
    bool rounded;
    int64_t b, h, first, count;
    PatternGroup group;
} Chunk;

typedef struct RelativeRows {
    Relative relative;
    int64_t apart;
    float *q, *band, *x; /* rows of Q + v */
} RelativeRows;

/* All tiles of the chunk. */
static void chunk_tiles(const Chunk *chunk, const Forward *f, const RelativeRows *with,
                        const GroupRows *rows, Tile tile) {
    const AttentionView *view = tile.view;
    int64_t end = chunk->first + chunk->count + view->offset;
    if (end > view->keys) end = view->keys;
    for (int64_t j = 0; j < end; j += KEYS) {
        tile.key = j;
        tile.keys = end - j < KEYS ? end - j : KEYS;
        pack_keys(f->keys, rows->k + j * view->k_row, view->k_row, tile.keys, view->width,
                  view->scale * LOG2_E, f->rounded);
        pack_channels(f->values, rows->v + j * view->v_row, view->v_row, tile.keys, view->width,
                      f->rounded);
        const int64_t tiles = (chunk->count + QUERIES - 1) / QUERIES;
        if (with->relative.r)
            pack_band(with->band, &with->relative, chunk_top(chunk->first, tiles, j, with->apart),
                      tiles * QUERIES + tile.keys, view->width, view->scale * LOG2_E, f->rounded);
        for (int64_t i = 0; i < chunk->count; i += QUERIES) {
            Forward part = *f;
            tile.first = chunk->first + i;
            tile.count = chunk->count - i < QUERIES ? chunk->count - i : QUERIES;
            part.q += i * f->padded;
            part.o += i * f->padded;
            part.sums += i * LANES;
            part.largest += i;
            part.out += i * f->out_row;
            part.log_sum += i;
            if (with->relative.r)
                begin_with_band(&tile, with->q + i * f->padded, f->padded,
                                with->band + (tiles - 1) * QUERIES - i, with->x);
            tile_forward(&part, &tile);
        }
    }
}

/* A query's result with the further keys whose result and log-sum-exp are new and log_sum, those of
 * `count`
 * <= LANES queries. A query that sees none of these keys has an infinite one. */
static void join_rows(const Chunk *chunk, int64_t i, int64_t count, const float *new,
                      int64_t new_row, const float *log_sum) {
    const PatternAttention *a = chunk->attributes;
    const int64_t L = extent(chunk->call->in[PATTERN_Q], 1), out_row = a->heads * a->width;
    const int64_t first = chunk->group.q_first + (chunk->first + i) * chunk->group.step;
    float *sums = chunk->call->saved[0]->data + (chunk->b * a->heads + chunk->h) * L + first;
    float *out = chunk->call->out[0]->data + (chunk->b * L + first) * out_row + chunk->h * a->width;
    float lanes[2][LANES] = {{0}};
    for (int64_t n = 0; n < count; n++) lanes[0][n] = sums[n * chunk->group.step];
    const vfloat old = v_load(lanes[0]), added = v_load_part(log_sum, count);
    const vint none = added == INFINITY;
    const vfloat top = v_select(none, old, v_max(old, added));
    const vfloat before = v_exp2_weight(old - top);
    const vfloat now = v_select(none, v_zero(), v_exp2_weight(v_select(none, old, added) - top));
    const vfloat total = before + now;
    v_store(lanes[0], before / total);
    v_store(lanes[1], now / total);
    float both[LANES];
    v_store(both, top + v_log(total) * LOG2_E);
    for (int64_t n = 0; n < count; n++) {
        if (log_sum[n] == INFINITY) continue;
        sums[n * chunk->group.step] = both[n];
        float *to = out + n * chunk->group.step * out_row;
        for (int64_t c = 0; c < a->width; c += LANES)
            v_store_part(to + c,
                         v_load_part(to + c, a->width - c) * lanes[0][n] +
                             v_load_part(new + n *new_row + c, a->width - c) * lanes[1][n],
                         a->width - c);
    }
}

/* The same for the first piece of a pattern whose rows do not follow each other. */
static void write_rows(const Chunk *chunk, const float *new, int64_t new_row,
                       const float *log_sum) {
    const PatternAttention *a = chunk->attributes;
    const int64_t L = extent(chunk->call->in[PATTERN_Q], 1), out_row = a->heads * a->width;
    for (int64_t i = 0; i < chunk->count; i++) {
        const int64_t row = chunk->group.q_first + (chunk->first + i) * chunk->group.step;
        chunk->call->saved[0]->data[(chunk->b * a->heads + chunk->h) * L + row] = log_sum[i];
        memcpy(chunk->call->out[0]->data + (chunk->b * L + row) * out_row + chunk->h * a->width,
               new + i *new_row, (size_t)a->width * sizeof(float));
    }
}

static void chunk_forward(const Chunk *chunk, float *scratch) {
    const OpCall *call = chunk->call;
    const PatternAttention *a = chunk->attributes;
    const int64_t d = a->width, count = chunk->count, L = extent(call->in[PATTERN_Q], 1);
    const int64_t padded = (d + LANES - 1) / LANES * LANES,
                  whole = (count + ROWS - 1) / ROWS * ROWS;
    GroupRows rows = rows_of_group(call, a, chunk->piece, &chunk->group, chunk->b, chunk->h);
    RelativeRows with = {.relative = relative_of(call, a, chunk->h),
                         .apart = chunk->group.q_first - chunk->group.k_first};
    const bool direct = chunk->piece == 0 && chunk->group.step == 1;
    Forward f = {.dropout = &no_dropout, .rounded = chunk->rounded, .padded = padded, .q = scratch};
    f.o = f.q + whole * padded;
    f.sums = f.o + whole * padded;
    f.keys = f.sums + whole * LANES;
    f.values = f.keys + KEYS * padded;
    f.scores = f.values + KEYS * ((padded + PANEL - 1) / PANEL * PANEL);
    f.largest = f.scores + QUERIES * KEYS;
    f.log_sum = f.largest + whole + LANES;
    with.q = f.log_sum + whole + LANES;
    with.band = with.q + (with.relative.r ? whole * padded : 0);
    with.x = with.band + (with.relative.r ? padded * BAND_CHUNK : 0);
    float *gathered = with.x + (with.relative.r ? QUERIES * BAND : 0);
    f.out = f.o;
    f.out_row = padded;
    if (direct) {
        const int64_t first = chunk->group.q_first + chunk->first;
        f.out_row = a->heads * d;
        f.out = call->out[0]->data + (chunk->b * L + first) * f.out_row + chunk->h * d;
        f.log_sum = call->saved[0]->data + (chunk->b * a->heads + chunk->h) * L + first;
    } else {
        for (int64_t i = 0; i < count; i++) f.log_sum[i] = INFINITY;
    }
    if (chunk->group.summaries)
        gather_summaries(gathered, a, chunk->h, &chunk->group, &rows,
                         call->in[rows.key_input]->data);
    const AttentionView view = view_of_group(a, &chunk->group, &rows);
    copy_rows(f.q, padded, rows.q + chunk->first * view.q_row, view.q_row, count, d,
              chunk->rounded && !with.relative.r);
    if (with.relative.r) {
        memset(with.q + count * padded, 0, (size_t)((whole - count) * padded) * sizeof(float));
        add_to_rows(with.q, f.q, padded, count, with.relative.v, d, chunk->rounded);
        add_to_rows(f.q, f.q, padded, count, with.relative.u, d, chunk->rounded);
    }
    chunk_tiles(chunk, &f, &with, &rows, (Tile){.view = &view, .end = view.keys});
    if (chunk->piece)
        for (int64_t i = 0; i < count; i += LANES)
            join_rows(chunk, i, count - i < LANES ? count - i : LANES, f.o + i * padded, padded,
                      f.log_sum + i);
    else if (!direct)
        write_rows(chunk, f.o, padded, f.log_sum);
}

void ISA(pattern_attention_forward)(const OpCall *call, const Run *run) {
    const PatternAttention *a = call->attributes;
    const int64_t L = extent(call->in[PATTERN_Q], 1), batch = extent(call->in[PATTERN_Q], 0);
    const int64_t floats = pattern_thread_floats(call, PHASE_FORWARD);
    for (int piece = 0; piece < MOST_PIECES; piece++) {
        const PieceKind kind = pattern_piece(a, piece);
        if (kind == PIECE_NONE) break;
        const int64_t groups = group_count(a, kind, L), longest = group_of(a, piece, L, 0).queries;
        const int64_t chunks = (longest + ATTENTION_CHUNK - 1) / ATTENTION_CHUNK;
        const int64_t even = chunks ? (longest + chunks - 1) / chunks : 0;
        const int64_t size = (even + ROWS - 1) / ROWS * ROWS;
        const int64_t each = groups * chunks;
#pragma omp parallel for num_threads(run->threads) schedule(static) if (run->threads > 1)
        for (int64_t n = 0; n < batch * a->heads * each; n++) {
            Chunk chunk = {.call = call,
                           .attributes = a,
                           .piece = piece,
                           .rounded = run->products == PRODUCTS_BF16,
                           .b = n / each / a->heads,
                           .h = n / each % a->heads,
                           .first = n % chunks * size,
                           .group = group_of(a, piece, L, n % each / chunks)};
            const int64_t left = chunk.group.queries - chunk.first;
            chunk.count = left < size ? left : size;
            if (chunk.count > 0 && chunk.group.keys > 0)
                chunk_forward(&chunk, (float *)call->scratch + omp_get_thread_num() * floats);
        }
    }
}
