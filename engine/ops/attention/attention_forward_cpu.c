/* Forward: a chunk of queries meets the keys block by block, with a running maximum and sum. */
#include <omp.h>

#include "engine/ops/attention/attention_forward_tile.h"
#include "engine/ops/attention/attention_kernels.h"

/* Queries without any key. */
static void clear_unseen(const OpCall *call, const Tile *chunk, int64_t count) {
    const AttentionView *view = chunk->view;
    const int64_t d = view->width, row = view->heads * d;
    for (int64_t i = chunk->first; i < chunk->first + count; i++) {
        if (chunk->end > 0 && (!view->causal || i + view->offset >= 0)) continue;
        memset(call->out[0]->data + (chunk->b * view->queries + i) * row + chunk->h * d, 0,
               (size_t)d * sizeof(float));
        call->saved[0]->data[(chunk->b * view->heads + chunk->h) * view->queries + i] = INFINITY;
    }
}

static void chunk_forward(const OpCall *call, const AttentionView *view,
                          const AttentionDropout *dropout, bool rounded, int64_t b, int64_t h,
                          int64_t first, int64_t count, float *scratch) {
    const int64_t d = view->width, kv = h / view->group * d, row = b * view->queries + first;
    const int64_t padded = (d + LANES - 1) / LANES * LANES;
    const float *q = call->in[view->q_input]->data + view->q_column + row * view->q_row + h * d;
    const float *k =
        call->in[view->k_input]->data + view->k_column + b * view->keys * view->k_row + kv;
    const float *v =
        call->in[view->v_input]->data + view->v_column + b * view->keys * view->v_row + kv;
    const int64_t rows = (count + ROWS - 1) / ROWS * ROWS;
    Forward f = {.call = call,
                 .dropout = dropout,
                 .rounded = rounded,
                 .padded = padded,
                 .q = scratch,
                 .out_row = view->heads * d};
    f.o = f.q + rows * padded;
    f.sums = f.o + rows * padded;
    f.keys = f.sums + rows * LANES;
    f.values = f.keys + KEYS * padded;
    f.scores = f.values + KEYS * ((padded + PANEL - 1) / PANEL * PANEL);
    f.largest = f.scores + QUERIES * KEYS;
    f.out = call->out[0]->data + row * f.out_row + h * d;
    f.log_sum = call->saved[0]->data + (b * view->heads + h) * view->queries + first;
    copy_rows(f.q, padded, q, view->q_row, count, d, rounded);
    const Tile chunk = {
        .view = view, .b = b, .h = h, .end = attention_keys(view, b), .first = first};
    clear_unseen(call, &chunk, count);
    int64_t end = chunk.end;
    if (view->causal && first + count + view->offset < end) end = first + count + view->offset;
    for (int64_t j = 0; j < end; j += KEYS) {
        Tile tile = chunk;
        tile.key = j;
        tile.keys = end - j < KEYS ? end - j : KEYS;
        pack_keys(f.keys, k + j * view->k_row, view->k_row, tile.keys, d, view->scale * LOG2_E,
                  rounded);
        pack_channels(f.values, v + j * view->v_row, view->v_row, tile.keys, d, rounded);
        for (int64_t i = 0; i < count; i += QUERIES) {
            Forward part = f;
            tile.first = first + i;
            tile.count = count - i < QUERIES ? count - i : QUERIES;
            part.q += i * padded;
            part.o += i * padded;
            part.sums += i * LANES;
            part.largest += i;
            part.out += i * f.out_row;
            part.log_sum += i;
            tile_forward(&part, &tile);
        }
    }
}

void ISA(attention_forward)(const OpCall *call, const Run *run) {
    const AttentionView view = attention_view(call);
    const AttentionDropout dropout = attention_dropout(call, run);
    const int64_t chunks = (view.queries + ATTENTION_CHUNK - 1) / ATTENTION_CHUNK;
    const int64_t even = chunks ? (view.queries + chunks - 1) / chunks : 0;
    const int64_t size = (even + ROWS - 1) / ROWS * ROWS;
    const int64_t items = view.batch * view.heads * chunks;
    const int64_t floats = attention_scratch(&view, PHASE_FORWARD);
#pragma omp parallel for num_threads(run->threads) schedule(static) if (run->threads > 1)
    for (int64_t n = 0; n < items; n++) {
        /* Early and late chunks take turns: causal ones differ in work, and shares are static. */
        const int64_t t = n % chunks, first = (t % 2 ? chunks - 1 - t / 2 : t / 2) * size;
        const int64_t left = view.queries - first;
        if (left > 0)
            chunk_forward(call, &view, &dropout, run->products == PRODUCTS_BF16,
                          n / chunks / view.heads, n / chunks % view.heads, first,
                          left < size ? left : size,
                          (float *)call->scratch + omp_get_thread_num() * floats);
    }
}
