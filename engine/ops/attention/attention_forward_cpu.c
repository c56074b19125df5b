/* Forward: for each tile of queries one pass over its keys with a running maximum and sum. */
#include <math.h>
#include <omp.h>

#include "engine/ops/attention/attention_dropout.h"
#include "engine/ops/attention/attention_kernels.h"
#include "engine/vmath.h"

typedef struct Forward {
    const AttentionView *view;
    const AttentionDropout *dropout;
    Tile tile;
    const float *k, *v; /* of this sequence and head */
    float *qt, *ot;     /* Q^T scaled and O^T, d x QUERIES */
    float *scores;      /* KEYS x QUERIES, scores and then weights */
    float *factor;      /* KEYS x QUERIES, dropout */
    vfloat largest[VECTORS], sum[VECTORS];
} Forward;

INLINE void score_block(int rows, int vectors, const Forward *f, int vector, int64_t first,
                        int64_t j, vfloat largest[2]) {
    vfloat s[ROWS][2] = {{{0}}};
    multiply(rows, vectors, f->view->width, f->k + j * f->view->k_row, f->view->k_row, 1,
             f->qt + vector * LANES, QUERIES, s);
    for (int v = 0; v < vectors; v++) {
        const int64_t masked = f->tile.masked[vector + v];
        float *to = f->scores + (j - first) * QUERIES + (vector + v) * LANES;
        if (j + rows > masked)
            for (int r = 0; r < rows; r++)
                s[r][v] = v_select(visible(j + r, masked), s[r][v], v_set(-INFINITY));
        for (int r = 0; r < rows; r++) {
            v_store(to + r * QUERIES, s[r][v]);
            largest[v] = v_max(largest[v], s[r][v]);
        }
    }
}

INLINE void score_span(int vectors, Forward *f, const Span *span, int64_t first) {
    vfloat largest[2] = {f->largest[span->vector], f->largest[span->vector + vectors - 1]};
    int64_t j = span->first;
    for (; j + ROWS <= span->last; j += ROWS) {
        prefetch_keys(f->k, f->view->k_row, j, ROWS, f->tile.end, f->view->width, false);
        prefetch_keys(f->v, f->view->v_row, j, ROWS, f->tile.end, f->view->width, false);
        score_block(ROWS, vectors, f, span->vector, first, j, largest);
    }
    for (; j < span->last; j++) score_block(1, vectors, f, span->vector, first, j, largest);
    for (int v = 0; v < vectors; v++) f->largest[span->vector + v] = largest[v];
}

/* Scores of one vector of queries to weights relative to `top`; returns sum + their sum. The sum is
 * that of the weights before dropout. */
static inline vfloat weigh(float *scores, const float *factor, int64_t count, vfloat top,
                           vfloat sum) {
    for (int64_t j = 0; j < count; j++) {
        const vfloat p = v_exp(v_load(scores + j * QUERIES) - top);
        v_store(scores + j * QUERIES, factor ? p * v_load(factor + j * QUERIES) : p);
        sum += p;
    }
    return sum;
}

/* O^T[c] = O^T[c] keep + sum_j V[j][c] P[j] for `rows` channels from c. */
INLINE void value_block(int rows, int vectors, const Forward *f, const Span *span, int64_t first,
                        int64_t c, const vfloat keep[2]) {
    float *ot = f->ot + c * QUERIES + span->vector * LANES;
    const float *weights = f->scores + (span->first - first) * QUERIES + span->vector * LANES;
    vfloat o[ROWS][2];
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < vectors; v++) o[r][v] = v_load(ot + r * QUERIES + v * LANES) * keep[v];
    multiply(rows, vectors, span->last - span->first, f->v + span->first * f->view->v_row + c, 1,
             f->view->v_row, weights, QUERIES, o);
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < vectors; v++) v_store(ot + r * QUERIES + v * LANES, o[r][v]);
}

INLINE void value_span(int vectors, const Forward *f, const Span *span, int64_t first,
                       const vfloat keep[2]) {
    int64_t c = 0;
    for (; c + ROWS <= f->view->width; c += ROWS)
        value_block(ROWS, vectors, f, span, first, c, keep);
    for (; c < f->view->width; c++) value_block(1, vectors, f, span, first, c, keep);
}

static void key_tile(Forward *f, int64_t first, int64_t last) {
    Span spans[VECTORS];
    const int count = tile_spans(&f->tile, first, last, spans);
    vfloat keep[VECTORS + 1], before[VECTORS];
    for (int v = 0; v < f->tile.vectors; v++) before[v] = f->largest[v];
    for (int s = 0; s < count; s++) {
        if (spans[s].vectors == 2)
            score_span(2, f, &spans[s], first);
        else
            score_span(1, f, &spans[s], first);
    }
    if (f->factor) tile_dropout(f->view, f->dropout, &f->tile, first, last, f->factor);
    for (int v = 0; v < f->tile.vectors; v++) {
        const int64_t end = f->tile.limit[v] < last ? f->tile.limit[v] : last;
        /* A query that has seen no key yet has -inf for its maximum: 0 stands in, so that no
         * difference of infinities arises. */
        const vfloat top = v_select(f->largest[v] == -INFINITY, v_zero(), f->largest[v]);
        keep[v] = v_exp(before[v] - top);
        f->sum[v] = weigh(f->scores + v * LANES, f->factor ? f->factor + v * LANES : NULL,
                          end - first, top, f->sum[v] * keep[v]);
    }
    for (int s = 0; s < count; s++) {
        /* Only the first span of a vector rescales what earlier key tiles summed. */
        const vfloat one[2] = {v_set(1.0f), v_set(1.0f)};
        const vfloat *scale = spans[s].first == first ? &keep[spans[s].vector] : one;
        if (spans[s].vectors == 2)
            value_span(2, f, &spans[s], first, scale);
        else
            value_span(1, f, &spans[s], first, scale);
    }
}

/* O = O^T / sum, and the log-sum-exp: +inf for a query without keys, so that backward finds P = 0.
 */
static void finish(const Forward *f, float *out, int64_t out_row, float *log_sum) {
    vfloat inverse[VECTORS];
    for (int v = 0; v < f->tile.vectors; v++) {
        const vint empty = f->sum[v] == 0.0f;
        const vfloat total = f->largest[v] + v_log(f->sum[v]);
        inverse[v] = v_select(empty, v_zero(), 1.0f / f->sum[v]);
        v_store_part(log_sum + v * LANES, v_select(empty, v_set(INFINITY), total),
                     f->tile.count - v * LANES);
    }
    tile_transpose_back(out, out_row, f->ot, f->tile.count, f->view->width, inverse, false);
}

static void query_tile(const OpCall *call, const AttentionView *view,
                       const AttentionDropout *dropout, int64_t b, int64_t h, int64_t first,
                       float *scratch) {
    const int64_t d = view->width, out_row = view->heads * d, kv = h / view->group * d;
    const int64_t row = b * view->queries + first;
    const float *q = call->in[view->q_input]->data + view->q_column + row * view->q_row + h * d;
    Forward f = {.view = view, .dropout = dropout, .tile = tile_of(view, b, h, first)};
    f.k = call->in[view->k_input]->data + view->k_column + b * view->keys * view->k_row + kv;
    f.v = call->in[view->v_input]->data + view->v_column + b * view->keys * view->v_row + kv;
    f.qt = scratch;
    f.ot = f.qt + d * QUERIES;
    f.scores = f.ot + d * QUERIES;
    f.factor = dropout->threshold ? f.scores + KEYS * QUERIES : NULL;
    for (int v = 0; v < VECTORS; v++) f.largest[v] = v_set(-INFINITY);
    memset(f.ot, 0, (size_t)(d * QUERIES) * sizeof(float));
    tile_transpose(f.qt, q, view->q_row, f.tile.count, d, view->scale);
    prefetch_next_head(call, view, &f.tile, false);
    for (int64_t j = 0; j < f.tile.end; j += KEYS)
        key_tile(&f, j, j + KEYS < f.tile.end ? j + KEYS : f.tile.end);
    finish(&f, call->out[0]->data + row * out_row + h * d, out_row,
           call->saved[0]->data + (b * view->heads + h) * view->queries + first);
}

void ISA(attention_forward)(const OpCall *call, const Run *run) {
    const AttentionView view = attention_view(call);
    const AttentionDropout dropout = attention_dropout(call, run);
    const int64_t tiles = (view.queries + QUERIES - 1) / QUERIES;
    const int64_t items = view.batch * view.heads * tiles;
    const int64_t floats = attention_scratch(&view, call->attributes, PHASE_FORWARD);
#pragma omp parallel for num_threads(run->threads) schedule(static) if (run->threads > 1)
    for (int64_t n = 0; n < items; n++) {
        /* Early and late tiles take turns: causal ones differ in work, and chunks are static. */
        const int64_t t = n % tiles, tile = t % 2 ? tiles - 1 - t / 2 : t / 2;
        query_tile(call, &view, &dropout, n / tiles / view.heads, n / tiles % view.heads,
                   tile * QUERIES, (float *)call->scratch + omp_get_thread_num() * floats);
    }
}
