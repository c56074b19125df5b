/* What the forward and the backward kernel share: a head on a thread, its queries and keys decayed
 * to the ends of spans, and the weights P of a chunk.
 *
 * A span of level l has 16 << l tokens. queries[l] have decayed since their span's begin (its first
 * token's own decay included), keys[l] until its end, so that neighbours meet in one product:
 * P (second span, first span) = queries[l] keys[l]^T. A span that joins two lets the queries of the
 * second decay by the first one's whole decay, and the keys of the first by the second's. Those of
 * the whole chunk, the last level, meet the states before and behind it. */
#ifndef LONGHAUL_OPS_GATED_LINEAR_ATTENTION_SIMD_H
#define LONGHAUL_OPS_GATED_LINEAR_ATTENTION_SIMD_H

#include "engine/gradient_simd.h"
#include "engine/ops/gated_linear_attention/gated_linear_attention_plan.h"
#include "engine/reduce_simd.h"
#include "engine/triangle_simd.h"
#include "engine/vmath.h"

enum { BLOCK = GATED_BLOCK, LEVELS = GATED_LEVELS, BLOCKS = CHUNK / BLOCK };
_Static_assert((int)GATED_CHUNK == (int)CHUNK, "the rows of a triangle are those of a chunk");
_Static_assert(BLOCK << (LEVELS - 1) == CHUNK, "the last span is a chunk");
_Static_assert(BLOCK % LANES == 0, "a row of weights inside a block is whole vectors");

typedef struct Head {
    const OpCall *call;
    GatedPlan plan;
    Multiplier with;
    float scale;
    int64_t b, h;
    int64_t row;          /* d rounded up to whole vectors: of all rows of d numbers in scratch */
    float *q, *k, *decay; /* (CHUNK, row): scale q, k, a; behind d 0, 0, 1 */
    float *queries[LEVELS], *keys[LEVELS]; /* (CHUNK, row); forward: one buffer for all levels */
    float *totals[LEVELS];                 /* (CHUNK / span, row): whole decays of the spans */
    float *weights;                        /* (CHUNK, CHUNK): P */
    float *state;
    /* Backward. */
    float *dq, *dk; /* (CHUNK, row) */
    float *dweights;
    float *dstate;
    float *products; /* (row): S . dS behind the chunk */
} Head;

/* Tokens of a chunk. */
typedef struct Part {
    int64_t chunk, token, rows;
} Part;

static inline int64_t smaller(int64_t a, int64_t b) {
    return a < b ? a : b;
}

static inline Part part_of(const Head *w, int64_t chunk) {
    const int64_t token = chunk * CHUNK;
    return (Part){chunk, token, smaller(CHUNK, w->plan.L - token)};
}

static inline float *take(float **next, int64_t floats) {
    float *part = *next;
    *next += (floats + 15) / 16 * 16;
    return part;
}

/* Lays out a thread's scratch. */
static inline Head gated_head(const OpCall *call, const Run *run, int thread, Phase phase) {
    const GatedLinearAttention *a = call->attributes;
    Head w = {.call = call,
              .plan = gated_plan(call),
              .with = {.products = run->products},
              .scale = (float)a->scale};
    const size_t bytes = gated_linear_attention_scratch(call, phase);
    w.row = (w.plan.d + LANES - 1) / LANES * LANES;
    const int64_t rows = CHUNK * w.row;
    float *next = (float *)((char *)call->scratch + (size_t)thread * bytes);
    w.q = take(&next, rows);
    w.k = take(&next, rows);
    w.decay = take(&next, rows);
    for (int level = 0; level < LEVELS; level++) {
        const bool own = level == 0 || phase == PHASE_BACKWARD;
        w.queries[level] = own ? take(&next, rows) : w.queries[0];
        w.keys[level] = own ? take(&next, rows) : w.keys[0];
        w.totals[level] = take(&next, (BLOCKS >> level) * w.row);
    }
    w.weights = take(&next, CHUNK * CHUNK);
    w.state = take(&next, w.plan.state);
    if (phase == PHASE_BACKWARD) {
        w.dq = take(&next, rows);
        w.dk = take(&next, rows);
        w.dweights = take(&next, CHUNK * CHUNK);
        w.dstate = take(&next, w.plan.state);
        w.products = take(&next, w.row);
    }
    w.with.workspace = next;
    return w;
}

/* Where the head's part of token t begins in tensors with `width` channels a head. */
static inline int64_t token_at(const Head *w, int64_t t, int64_t width) {
    return ((w->b * w->plan.L + t) * w->plan.H + w->h) * width;
}
static inline const float *values_of(const Head *w, const Part *part) {
    return w->call->in[GATED_V]->data + token_at(w, part->token, w->plan.m);
}
/* The state before a chunk, kept for backward. */
static inline float *note_of(const Head *w, int64_t chunk) {
    return w->call->saved[0]->data +
           ((w->b * w->plan.H + w->h) * w->plan.chunks + chunk) * w->plan.state;
}

/* q, k and a of a chunk. */
static inline void pack(const Head *w, const Part *part) {
    const int64_t d = w->plan.d, row = w->plan.H * d, first = token_at(w, part->token, d);
    const float *q = w->call->in[GATED_Q]->data + first, *k = w->call->in[GATED_K]->data + first;
    const float *decay = w->call->in[GATED_DECAY]->data + first;
    for (int64_t i = 0; i < part->rows; i++)
        for (int64_t c = 0; c < d; c += LANES) {
            const int64_t from = i * row + c, to = i * w->row + c;
            v_store(w->q + to, v_load_part(q + from, d - c) * w->scale);
            v_store(w->k + to, v_load_part(k + from, d - c));
            v_store(w->decay + to, v_exp(v_load_part(decay + from, d - c)));
        }
}

/* Level 0 from tokens begin .. end-1, a block. */
static inline void decay_block(const Head *w, int64_t begin, int64_t end) {
    const int64_t row = w->row;
    for (int64_t c = 0; c < row; c += LANES) {
        vfloat since = v_set(1), until = v_set(1);
        for (int64_t i = begin; i < end; i++) {
            since *= v_load(w->decay + i * row + c);
            v_store(w->queries[0] + i * row + c, v_load(w->q + i * row + c) * since);
        }
        v_store(w->totals[0] + begin / BLOCK * row + c, since);
        for (int64_t i = end - 1; i >= begin; i--) {
            v_store(w->keys[0] + i * row + c, v_load(w->k + i * row + c) * until);
            until *= v_load(w->decay + i * row + c);
        }
    }
}

/* Rows times one row of factors, NULL for ones; whole vectors. */
static inline void decay_rows(float *to, const float *from, int64_t rows, int64_t row,
                              const float *factors) {
    if (!factors && to == from) return;
    for (int64_t c = 0; c < row; c += LANES) {
        const vfloat factor = factors ? v_load(factors + c) : v_set(1);
        for (int64_t i = 0; i < rows; i++)
            v_store(to + i * row + c, v_load(from + i * row + c) * factor);
    }
}

/* Two neighbouring spans of a level, tokens first .. middle-1 and middle .. end-1, and their whole
 * decays; behind: NULL where the chunk ends with the first. */
typedef struct Pair {
    int64_t first, middle, end;
    const float *before, *behind;
} Pair;

/* Pair number n of a level, in a chunk with rows behind the pair's first one. */
static inline Pair pair_of(const Head *w, int level, int64_t n, int64_t rows) {
    const int64_t span = BLOCK << level, first = 2 * n * span;
    Pair pair = {.first = first,
                 .middle = smaller(first + span, rows),
                 .end = smaller(first + 2 * span, rows),
                 .before = w->totals[level] + 2 * n * w->row};
    if (pair.end > pair.middle) pair.behind = pair.before + w->row;
    return pair;
}

/* Spans of the next level. */
static inline void join(const Head *w, int level, int64_t n, const Pair *pair) {
    const int64_t row = w->row, first = pair->first * row, middle = pair->middle * row;
    const int64_t before = pair->middle - pair->first, behind = pair->end - pair->middle;
    float *const *queries = w->queries + level, *const *keys = w->keys + level;
    decay_rows(queries[1] + first, queries[0] + first, before, row, NULL);
    decay_rows(keys[1] + first, keys[0] + first, before, row, pair->behind);
    decay_rows(queries[1] + middle, queries[0] + middle, behind, row, pair->before);
    decay_rows(keys[1] + middle, keys[0] + middle, behind, row, NULL);
    decay_rows(w->totals[level + 1] + n * row, pair->before, 1, row, pair->behind);
}

/* P inside a block, and zeros where products read behind it. */
static inline void weigh_block(const Head *w, int64_t begin, int64_t end) {
    const int64_t row = w->row;
    for (int64_t i = begin; i < end; i++) {
        vfloat sums[BLOCK];
#pragma GCC unroll 16 /* or it becomes an instruction for long strings of zeros */
        for (int64_t j = 0; j < BLOCK; j++) sums[j] = v_zero();
        for (int64_t c = 0; c < row; c += LANES) {
            vfloat query = v_load(w->q + i * row + c);
            for (int64_t j = i; j >= begin; j--) {
                sums[j - begin] += query * v_load(w->k + j * row + c);
                query *= v_load(w->decay + j * row + c);
            }
        }
        float *weights = w->weights + i * CHUNK + begin;
        for (int64_t j = 0; j < BLOCK; j += LANES) v_store(weights + j, v_sum_rows(sums + j));
        if (begin % HALF == 0) memset(weights + BLOCK, 0, BLOCK * sizeof(float));
    }
}

/* All levels and P of a chunk. */
static inline void weigh(const Head *w, const Part *part) {
    const int64_t row = w->row, rows = part->rows;
    pack(w, part);
    for (int64_t begin = 0; begin < rows; begin += BLOCK) {
        const int64_t end = smaller(begin + BLOCK, rows);
        decay_block(w, begin, end);
        weigh_block(w, begin, end);
    }
    for (int level = 0; level < LEVELS - 1; level++)
        for (int64_t n = 0; 2 * n * (BLOCK << level) < rows; n++) {
            const Pair pair = pair_of(w, level, n, rows);
            if (pair.behind)
                multiply(&w->with, GEMM_NT, pair.end - pair.middle, pair.middle - pair.first,
                         w->plan.d, w->queries[level] + pair.middle * row, row,
                         w->keys[level] + pair.first * row, row,
                         w->weights + pair.middle * CHUNK + pair.first, CHUNK, false);
            join(w, level, n, &pair);
        }
}

/* S <- diag(decay of the chunk) S + x^T y, for x of the last level and y (rows, m). */
static inline void advance(const Head *w, const Part *part, const float *x, const float *y,
                           int64_t y_row, float *S) {
    const int64_t d = w->plan.d, m = w->plan.m;
    scale_rows(S, m, S, m, d, m, w->totals[LEVELS - 1], 1);
    multiply(&w->with, GEMM_TN, d, m, part->rows, x, w->row, y, y_row, S, m, true);
}

#endif
