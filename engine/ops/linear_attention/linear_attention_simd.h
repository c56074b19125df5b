/* What the forward and the backward kernel of linear attention share: a head on a thread, its
 * features chunk by chunk, decays, and products in the thread's scratch. */
#ifndef LONGHAUL_OPS_LINEAR_ATTENTION_SIMD_H
#define LONGHAUL_OPS_LINEAR_ATTENTION_SIMD_H

#include "engine/bf16_simd.h"
#include "engine/chunk_decay_simd.h"
#include "engine/gradient_simd.h"
#include "engine/ops/linear_attention/linear_attention_plan.h"
#include "engine/reduce_simd.h"

_Static_assert((int)LINEAR_CHUNK == (int)CHUNK, "the rows of a triangle are those of a chunk");

typedef struct Head {
    const OpCall *call;
    const LinearAttention *a;
    LinearPlan plan;
    Multiplier with;
    int64_t b, h, keys; /* keys: tokens whose keys count */
    int64_t ahead;      /* tokens to the chunk that comes after this one */
    float *q, *k;       /* (CHUNK, d): features of a chunk */
    float *weights;     /* (CHUNK, CHUNK): P */
    float *state;
    const float *log_decay, *gains, *skip; /* of the call; NULL: none */
    ChunkDecays *decay;
    float *gain; /* (CHUNK) */
    /* Backward. */
    float *dq, *dk, *g; /* gradients of the features; that of the result over the denominator */
    float *dweights, *decays; /* (CHUNK, CHUNK): of P; exp(b_i - b_j) */
    float *dstate;
    float *ddenominator; /* (CHUNK) */
    float *totals;       /* gradients of a constant decay and of the skip so far */
} Head;

/* Tokens of a chunk, and how many of their keys count. */
typedef struct Span {
    int64_t chunk, token, rows, keys;
} Span;

static inline int64_t smaller(int64_t a, int64_t b) {
    return a < b ? a : b;
}

static inline Span span_of(const Head *w, int64_t chunk) {
    Span span = {.chunk = chunk, .token = chunk * CHUNK};
    span.rows = smaller(CHUNK, w->plan.L - span.token);
    span.keys = w->keys - span.token;
    if (span.keys < 0) span.keys = 0;
    if (span.keys > span.rows) span.keys = span.rows;
    return span;
}

static inline float *take(float **next, int64_t floats) {
    float *part = *next;
    *next += (floats + 15) / 16 * 16;
    return part;
}

/* Lays out a thread's scratch. */
static inline Head head_of(const OpCall *call, const Run *run, int thread, size_t bytes,
                           Phase phase) {
    Head w = {.call = call,
              .a = call->attributes,
              .plan = linear_attention_plan(call),
              .with = {.products = run->products}};
    float *next = (float *)((char *)call->scratch + (size_t)thread * bytes);
    w.log_decay = data_of(call, LINEAR_DECAY);
    w.gains = data_of(call, LINEAR_GAIN);
    w.skip = data_of(call, LINEAR_SKIP);
    w.gain = take(&next, CHUNK);
    w.q = take(&next, CHUNK * w.plan.d);
    w.k = take(&next, CHUNK * w.plan.d);
    w.weights = take(&next, CHUNK * CHUNK);
    w.state = take(&next, w.plan.state);
    w.decay = (ChunkDecays *)take(&next, sizeof(ChunkDecays) / sizeof(float));
    if (phase == PHASE_BACKWARD) {
        w.dq = take(&next, CHUNK * w.plan.d);
        w.dk = take(&next, CHUNK * w.plan.d);
        w.g = take(&next, CHUNK * w.plan.m);
        w.dweights = take(&next, CHUNK * CHUNK);
        w.decays = take(&next, CHUNK * CHUNK);
        w.dstate = take(&next, w.plan.state);
        w.ddenominator = take(&next, CHUNK);
    }
    w.with.workspace = next;
    return w;
}

static inline void head_begin(Head *w, int64_t b, int64_t h, int64_t ahead) {
    const Tensor *lengths = w->call->in[LINEAR_LENGTHS];
    w->b = b;
    w->h = h;
    w->ahead = ahead;
    w->keys = linear_attention_keys(&w->plan, lengths ? lengths->integers : NULL, b);
}

/* Where the head's part of token t begins. */
static inline int64_t q_at(const Head *w, int64_t t) {
    const LinearPlan *p = &w->plan;
    return p->q_column + (w->b * p->L + t) * p->q_row + w->h / (p->H / p->G) * p->d;
}
static inline int64_t k_at(const Head *w, int64_t t) {
    const LinearPlan *p = &w->plan;
    return p->k_column + (w->b * p->L + t) * p->k_row + w->h / (p->H / p->G) * p->d;
}
static inline int64_t v_at(const Head *w, int64_t t) {
    const LinearPlan *p = &w->plan;
    return p->v_column + (w->b * p->L + t) * p->v_row + w->h * p->m;
}
static inline int64_t out_at(const Head *w, int64_t t) {
    return ((w->b * w->plan.L + t) * w->plan.H + w->h) * w->plan.m;
}
/* Of tensors (B, L, H). */
static inline int64_t scalar_at(const Head *w, int64_t t) {
    return (w->b * w->plan.L + t) * w->plan.H + w->h;
}
static inline int64_t decay_at(const Head *w, int64_t t) {
    return w->plan.constant ? w->h : scalar_at(w, t);
}
static inline float *note_of(const Head *w, int64_t note) {
    return w->call->saved[LINEAR_SAVED_STATES]->data +
           ((w->b * w->plan.H + w->h) * w->plan.notes + note) * w->plan.state;
}
static inline float *z_of(const Head *w, float *state) {
    return state + w->plan.d * w->plan.m;
}

ALWAYS_INLINE vfloat v_feature(const FeatureMap feature, vfloat x) {
    if (feature == FEATURE_ELU) return v_select(x > 0.0f, x + 1.0f, v_exp(v_min(v_zero(), x)));
    return feature == FEATURE_RELU ? v_max(v_zero(), x) : x;
}
/* The derivative times the scale, from the feature times the scale. */
ALWAYS_INLINE vfloat v_feature_slope(const FeatureMap feature, vfloat y, vfloat scale) {
    if (feature == FEATURE_ELU) return v_min(scale, y);
    return feature == FEATURE_RELU ? v_select(y > 0.0f, scale, v_zero()) : scale;
}

/* The next chunk's rows lie where the processor does not foresee them: asked for while this one is
 * at work. */
ALWAYS_INLINE void fetch_row(const float *row, int64_t width) {
    for (int64_t c = 0; c < width; c += 16) __builtin_prefetch(row + c, 0, 2);
}

ALWAYS_INLINE void features(const FeatureMap feature, const bool rounded, const Head *w, float *to,
                            const float *from, int64_t row, int64_t rows, float scale) {
    const int64_t d = w->plan.d;
    for (int64_t t = 0; t < rows; t++, from += row, to += d) {
        fetch_row(from + w->ahead * row, d);
        for (int64_t c = 0; c < d; c += LANES) {
            const vfloat y = v_feature(feature, v_load_part(from + c, d - c)) * scale;
            v_store_part(to + c, rounded ? v_round_bf16(y) : y, d - c);
        }
    }
}
/* Products with rounded inputs read rounded features, and so do the denominators: weights then sum
 * to one. */
static inline void pack(const Head *w, float *to, const float *from, int64_t row, int64_t rows,
                        double scale) {
    const bool rounded = w->with.products == PRODUCTS_BF16;
    if (w->a->feature == FEATURE_ELU)
        features(FEATURE_ELU, rounded, w, to, from, row, rows, (float)scale);
    else if (w->a->feature == FEATURE_RELU)
        features(FEATURE_RELU, rounded, w, to, from, row, rows, (float)scale);
    else
        features(FEATURE_IDENTITY, rounded, w, to, from, row, rows, (float)scale);
}
static inline void pack_queries(const Head *w, const Span *span) {
    pack(w, w->q, w->call->in[w->plan.q_input]->data + q_at(w, span->token), w->plan.q_row,
         span->rows, w->a->scale);
}
/* Without gains. */
static inline void pack_plain_keys(const Head *w, const Span *span) {
    pack(w, w->k, w->call->in[w->plan.k_input]->data + k_at(w, span->token), w->plan.k_row,
         span->keys, 1);
}
static inline void pack_keys(const Head *w, const Span *span) {
    pack_plain_keys(w, span);
    if (!w->gains) return;
    for (int64_t i = 0; i < span->keys; i++) w->gain[i] = w->gains[scalar_at(w, span->token + i)];
    scale_rows(w->k, w->plan.d, w->k, w->plan.d, span->keys, w->plan.d, w->gain, 1);
}
static inline const float *values_of(const Head *w, const Span *span) {
    return w->call->in[w->plan.v_input]->data + v_at(w, span->token);
}

/* The decays of a chunk, tokens behind the last one without. */
static inline void sum_decays(const Head *w, const Span *span) {
    if (w->log_decay)
        chunk_decays(w->decay, w->log_decay + decay_at(w, span->token),
                     w->plan.constant ? 0 : w->plan.H, span->rows);
}

/* What is left of the state at the end of a chunk. */
static inline float chunk_decay(const Head *w, const Span *span) {
    return w->log_decay ? w->decay->since[span->rows - 1] : 1;
}

/* Zeroes P above the diagonal, multiplies the rest by its decays and adds the skip; keep: where to
 * leave the decays, or NULL. Row i holds rows up to its half's end. */
static inline void mask_weights(const Head *w, const Span *span, float *weights, float *keep) {
    for (int64_t i = 0; i < span->rows; i++) {
        const int64_t end = triangle_end(i, span->rows);
        float *row = weights + i * CHUNK;
        fetch_row(values_of(w, span) + (w->ahead + i) * w->plan.v_row, w->plan.m);
        for (int64_t j = 0; w->log_decay && j <= i; j += LANES) {
            const vfloat decay = v_chunk_decays(w->decay, i, j);
            v_store(row + j, v_load(row + j) * decay);
            if (keep) v_store(keep + i * CHUNK + j, decay);
        }
        for (int64_t j = i + 1; j < end; j++) row[j] = 0;
        if (w->skip) row[i] += w->skip[w->h];
    }
}

/* S <- exp(b_C) S + k^T V for keys that are already weighted, and z from unweighted ones before. */
static inline void add_keys(const Head *w, const Span *span) {
    const int64_t d = w->plan.d, m = w->plan.m;
    if (w->log_decay) {
        const float decay = chunk_decay(w, span);
        for (int64_t i = 0; i < d * m; i += LANES)
            v_store_part(w->state + i, v_load_part(w->state + i, d * m - i) * decay, d * m - i);
        scale_rows(w->k, d, w->k, d, span->keys, d, w->decay->before, 1);
    }
    multiply(&w->with, GEMM_TN, d, m, span->keys, w->k, d, values_of(w, span), w->plan.v_row,
             w->state, m, true);
}

#endif
