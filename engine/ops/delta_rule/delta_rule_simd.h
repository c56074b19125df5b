/* What the forward and the backward kernel of the delta rule share: a head on a thread, its chunks,
 * and the triangular system that gives a chunk's corrections. */
#ifndef LONGHAUL_OPS_DELTA_RULE_SIMD_H
#define LONGHAUL_OPS_DELTA_RULE_SIMD_H

#include "engine/chunk_decay_simd.h"
#include "engine/gradient_simd.h"
#include "engine/ops/delta_rule/delta_rule_plan.h"

_Static_assert((int)DELTA_CHUNK == (int)CHUNK, "the rows of a triangle are those of a chunk");

enum { BLOCK = 16 }; /* rows that are solved in registers */

typedef struct Head {
    const OpCall *call;
    const DeltaRule *a;
    DeltaPlan plan;
    Multiplier with;
    int64_t b, h;
    const float *log_decay; /* of the call; NULL: none */
    ChunkDecays *decay;
    float *beta;        /* (CHUNK) */
    float *q, *k;       /* (CHUNK, d): of a chunk, with their scales */
    float *weights;     /* (CHUNK, CHUNK): P */
    float *minus;       /* (CHUNK, CHUNK): -M */
    float *errors;      /* (CHUNK, m): W */
    float *corrections; /* (CHUNK, m): U */
    float *state;
    /* Backward. */
    float *decays;        /* (CHUNK, CHUNK): exp(b_i - b_j) */
    float *dq, *dk_reads; /* (CHUNK, d); dk_reads: of k where the state is asked for it, */
    float *dk_writes;     /* (CHUNK, d): and where something is written under it */
    float *dcorrections;  /* (CHUNK, m): Y */
    float *dv;            /* (CHUNK, m): D Y */
    float *dweights, *dm; /* (CHUNK, CHUNK) */
    float *dstate;
} Head;

/* Tokens of a chunk. */
typedef struct Span {
    int64_t chunk, token, rows;
} Span;

static inline Span span_of(const Head *w, int64_t chunk) {
    const int64_t left = w->plan.L - chunk * CHUNK;
    return (Span){chunk, chunk * CHUNK, left < CHUNK ? left : CHUNK};
}

static inline float *take(float **next, int64_t floats) {
    float *part = *next;
    *next += (floats + 15) / 16 * 16;
    return part;
}

/* Lays out a thread's scratch. */
static inline Head head_of(const OpCall *call, const Run *run, int thread, Phase phase) {
    const size_t bytes = delta_rule_scratch(call, phase);
    Head w = {.call = call,
              .a = call->attributes,
              .plan = delta_rule_plan(call),
              .with = {.products = run->products},
              .log_decay = data_of(call, DELTA_DECAY)};
    const int64_t keys = CHUNK * w.plan.d, values = CHUNK * w.plan.m;
    float *next = (float *)((char *)call->scratch + (size_t)thread * bytes);
    w.decay = (ChunkDecays *)take(&next, sizeof(ChunkDecays) / sizeof(float));
    w.beta = take(&next, CHUNK);
    w.q = take(&next, keys);
    w.k = take(&next, keys);
    w.weights = take(&next, CHUNK * CHUNK);
    w.minus = take(&next, CHUNK * CHUNK);
    w.errors = take(&next, values);
    w.corrections = take(&next, values);
    w.state = take(&next, w.plan.state);
    if (phase == PHASE_BACKWARD) {
        w.decays = take(&next, CHUNK * CHUNK);
        w.dq = take(&next, keys);
        w.dk_reads = take(&next, keys);
        w.dk_writes = take(&next, keys);
        w.dcorrections = take(&next, values);
        w.dv = take(&next, values);
        w.dweights = take(&next, CHUNK * CHUNK);
        w.dm = take(&next, CHUNK * CHUNK);
        w.dstate = take(&next, w.plan.state);
    }
    w.with.workspace = next;
    return w;
}

/* Of the head at token t: in tensors (B, L, H), and in (B, L, H n). */
static inline int64_t scalar_at(const Head *w, int64_t t) {
    return (w->b * w->plan.L + t) * w->plan.H + w->h;
}
static inline int64_t row_at(const Head *w, int64_t t, int64_t n) {
    return scalar_at(w, t) * n;
}
static inline int64_t state_at(const Head *w) {
    return (w->b * w->plan.H + w->h) * w->plan.state;
}
static inline float *note_of(const Head *w, int64_t chunk) {
    return w->call->saved[DELTA_SAVED_STATES]->data + state_at(w) * w->plan.chunks +
           chunk * w->plan.state;
}

/* Loads a chunk: q and k, betas, decays. Tokens that are not there have beta 0 and no decay. */
static inline void open_chunk(const Head *w, const Span *span) {
    const int64_t d = w->plan.d, row = w->plan.H * d, at = row_at(w, span->token, d);
    const float *beta = w->call->in[DELTA_BETA]->data;
    for (int64_t i = 0; i < span->rows; i++)
        for (int64_t c = 0; c < d; c += LANES) {
            const float *q = w->call->in[DELTA_Q]->data + at + i * row + c;
            const float *k = w->call->in[DELTA_K]->data + at + i * row + c;
            v_store_part(w->q + i * d + c, v_load_part(q, d - c) * (float)w->a->q_scale, d - c);
            v_store_part(w->k + i * d + c, v_load_part(k, d - c) * (float)w->a->k_scale, d - c);
        }
    for (int64_t i = 0; i < CHUNK; i++)
        w->beta[i] = i < span->rows ? beta[scalar_at(w, span->token + i)] : 0;
    if (w->log_decay)
        chunk_decays(w->decay, w->log_decay + scalar_at(w, span->token), w->plan.H, span->rows);
}

/* What is left of the state at the end of a chunk. */
static inline float chunk_decay(const Head *w) {
    return w->log_decay ? w->decay->since[CHUNK - 1] : 1;
}
/* Factors exp(b) and exp(b_C - b) of a chunk's tokens; NULL for one. */
static inline const float *since_of(const Head *w) {
    return w->log_decay ? w->decay->since : NULL;
}
static inline const float *before_of(const Head *w) {
    return w->log_decay ? w->decay->before : NULL;
}
/* to = from factors factor, by rows of `width` numbers; to may be from. */
static inline void decay_rows(float *to, const float *from, int64_t rows, int64_t width,
                              const float *factors, float factor) {
    for (int64_t i = 0; i < rows; i++, from += width, to += width) {
        const float f = factors ? factors[i] * factor : factor;
        for (int64_t c = 0; c < width; c += LANES)
            v_store_part(to + c, v_load_part(from + c, width - c) * f, width - c);
    }
}

/* P and -M, and with `decays` what they were multiplied by. */
static inline void triangles(const Head *w, int64_t rows, float *decays) {
    const int64_t d = w->plan.d, solved = (rows + BLOCK - 1) / BLOCK * BLOCK;
    triangle(&w->with, rows, d, w->q, d, w->k, d, w->weights);
    triangle(&w->with, rows, d, w->k, d, w->k, d, w->minus);
    for (int64_t i = 0; i < rows; i++) {
        float *weights = w->weights + i * CHUNK, *minus = w->minus + i * CHUNK;
        for (int64_t j = 0; j <= i; j += LANES) {
            const vfloat decay = w->log_decay ? v_chunk_decays(w->decay, i, j) : v_set(1);
            if (decays) v_store(decays + i * CHUNK + j, decay);
            v_store(weights + j, v_load(weights + j) * decay);
            v_store(minus + j, v_load(minus + j) * -decay);
        }
        for (int64_t j = i + 1; j < CHUNK; j++) weights[j] = 0;
        for (int64_t j = i; j < CHUNK; j++) minus[j] = 0;
    }
    for (int64_t i = rows; i < solved; i++) memset(w->minus + i * CHUNK, 0, CHUNK * sizeof(float));
}

/* LANES columns of a block of rows: w_i -= sum over j of M_ij u_j, u_i = beta_i w_i, rows from the
 * first on or, with the transposed M, from the last. left: columns that are there. */
ALWAYS_INLINE void solve_block(const bool turned, const float *minus, const float *beta, float *w,
                               float *u, int64_t width, int64_t left) {
    vfloat x[BLOCK];
#pragma GCC unroll 16
    for (int i = 0; i < BLOCK; i++) x[i] = v_load_part(w + i * width, left);
#pragma GCC unroll 16
    for (int step = 0; step < BLOCK; step++) {
        const int i = turned ? BLOCK - 1 - step : step;
        const vfloat own = x[i] * beta[i];
        v_store_part(w + i * width, x[i], left);
        v_store_part(u + i * width, own, left);
#pragma GCC unroll 16
        for (int later = step + 1; later < BLOCK; later++) {
            const int j = turned ? BLOCK - 1 - later : later;
            x[j] += own * (turned ? minus[i * CHUNK + j] : minus[j * CHUNK + i]);
        }
    }
}

/* (I + M D) W = w, in place, and U = D W; m columns. */
static inline void solve(const Head *w, int64_t rows, float *errors, float *u) {
    const int64_t m = w->plan.m;
    for (int64_t i = 0; i < rows; i += BLOCK) {
        const int64_t some = rows - i < BLOCK ? rows - i : BLOCK;
        if (some < BLOCK)
            memset(errors + rows * m, 0, (size_t)((BLOCK - some) * m) * sizeof(float));
        multiply(&w->with, GEMM_NN, some, m, i, w->minus + i * CHUNK, CHUNK, u, m, errors + i * m,
                 m, true);
        for (int64_t c = 0; c < m; c += LANES)
            solve_block(false, w->minus + i * CHUNK + i, w->beta + i, errors + i * m + c,
                        u + i * m + c, m, m - c);
    }
}

/* (I + M^T D) Y = y, in place, and X = D Y. */
static inline void solve_turned(const Head *w, int64_t rows, float *y, float *x) {
    const int64_t m = w->plan.m, solved = (rows + BLOCK - 1) / BLOCK * BLOCK;
    memset(y + rows * m, 0, (size_t)((solved - rows) * m) * sizeof(float));
    for (int64_t i = solved - BLOCK; i >= 0; i -= BLOCK) {
        const int64_t later = i + BLOCK;
        multiply(&w->with, GEMM_TN, BLOCK, m, solved - later, w->minus + later * CHUNK + i, CHUNK,
                 x + later * m, m, y + i * m, m, true);
        for (int64_t c = 0; c < m; c += LANES)
            solve_block(true, w->minus + i * CHUNK + i, w->beta + i, y + i * m + c, x + i * m + c,
                        m, m - c);
    }
}

/* W and U of a chunk from the state before it. */
static inline void correct(const Head *w, const Span *span, const float *state) {
    const int64_t d = w->plan.d, m = w->plan.m;
    const float *v = w->call->in[DELTA_V]->data + row_at(w, span->token, m);
    multiply(&w->with, GEMM_NN, span->rows, m, d, w->k, d, state, m, w->errors, m, false);
    for (int64_t i = 0; i < span->rows; i++) {
        const float since = w->log_decay ? w->decay->since[i] : 1;
        for (int64_t c = 0; c < m; c += LANES) {
            float *at = w->errors + i * m + c;
            const vfloat value = v_load_part(v + i * w->plan.H * m + c, m - c);
            v_store_part(at, value - v_load_part(at, m - c) * since, m - c);
        }
    }
    solve(w, span->rows, w->errors, w->corrections);
}

/* state *= what is left of it at the chunk's end. */
static inline void decay_state(const Head *w, float *state) {
    const int64_t size = w->plan.state;
    if (!w->log_decay) return;
    for (int64_t i = 0; i < size; i += LANES)
        v_store_part(state + i, v_load_part(state + i, size - i) * chunk_decay(w), size - i);
}

#endif
