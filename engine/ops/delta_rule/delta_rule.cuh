/* The delta rule on a GPU: a call as its kernels see it, and a chunk of one head. */
#ifndef LONGHAUL_OPS_DELTA_RULE_CUH
#define LONGHAUL_OPS_DELTA_RULE_CUH

#include "engine/cuda/chunk_decay.cuh"
#include "engine/cuda/chunk_product.cuh"
#include "engine/ops/delta_rule/delta_rule_plan.h"

static_assert((int)TILE == (int)DELTA_CHUNK, "a tile has the tokens of a chunk");

struct DeltaCall {
    DeltaPlan plan;
    float q_scale, k_scale;
    const float *q, *k, *v, *beta;
    const float *sums;  /* as sum_chunk_decays makes them; NULL: no decays */
    float *inverse;     /* (B, H, chunks, C, C): (I + M D)^-1 - I, as I is not to be rounded */
    float *reads;       /* (B, H, chunks, C, d): Z = (I + M D)^-1 exp(b) K */
    float *errors;      /* (B, L, H m): (I + M D)^-1 V, then W = that - Z S */
    float *states;      /* (B, H, chunks, d m): before each chunk */
    const float *start; /* the first of them, or NULL for zero */
    float *end;         /* the state after the last token; NULL: not wanted */
    float *out;
    /* backward */
    const float *dout, *dend;
    float *dcorrections; /* (B, L, H m): of U */
    float *dvalues;      /* (B, L, H m): of V */
    float *dstates;      /* (B, H, chunks, d m): of the state behind each chunk */
    float *differences;  /* (B, H, chunks, C): what the gradients of log_decay are sums of */
    float *dq, *dk, *dv, *dbeta, *dstart; /* NULL: not wanted */
    bool add_q, add_k, add_v, add_beta, add_start;
};

/* Numbers of a chunk's tokens, in shared memory. */
struct DeltaFactors {
    float beta[TILE]; /* zero where there is no token */
    float sums[2 * TILE];
};

/* A chunk of one head. */
struct DeltaChunk {
    const DeltaCall &x;
    int64_t unit, number; /* b H + head; of the head's chunks */
    int count;            /* tokens */
    int64_t first;        /* of the first token in (B, L, H) */
    const float *beta;
    ChunkDecays decays;

    __device__ DeltaChunk(const DeltaCall &x, int64_t unit, int64_t number)
        : x(x), unit(unit), number(number), beta(NULL), decays{NULL} {
        const DeltaPlan &p = x.plan;
        const int64_t left = p.L - number * TILE;
        count = left < TILE ? (int)left : TILE;
        first = (unit / p.H * p.L + number * TILE) * p.H + unit % p.H;
    }
    /* By the whole block; barriers before, where the space was in use, and after it. */
    __device__ void load(DeltaFactors &space) {
        for (int i = (int)threadIdx.x; i < TILE; i += THREADS)
            space.beta[i] = i < count ? x.beta[first + i * x.plan.H] : 0.0f;
        beta = space.beta;
        decays = load_chunk_decays(x.sums, place(), space.sums);
    }
    /* Among all chunks. */
    __device__ int64_t place() const {
        return unit * x.plan.chunks + number;
    }
    /* What is left of the state at the chunk's end. */
    __device__ float left() const {
        return decays.since(TILE - 1);
    }
    /* The head's part of a tensor (B, L, H n), and of one (B, H, chunks, C, n). */
    __device__ MatrixRows rows(const float *from, int64_t n) const {
        return {from + first * n, x.plan.H * n, count, (int)n};
    }
    __device__ MatrixRows own(const float *from, int64_t n) const {
        return {from + place() * TILE * n, n, TILE, (int)n};
    }
    __device__ MatrixRows values(const float *from) const {
        return rows(from, x.plan.m);
    }
    __device__ MatrixRows state(const float *states) const {
        return {states + place() * x.plan.state, x.plan.m, (int)x.plan.d, (int)x.plan.m};
    }
    __device__ float q(int i, int a) const {
        return x.q_scale * rows(x.q, x.plan.d).at(i, a);
    }
    __device__ float k(int i, int a) const {
        return x.k_scale * rows(x.k, x.plan.d).at(i, a);
    }
    /* U = D W */
    __device__ float correction(int i, int c) const {
        return beta[i] * values(x.errors).at(i, c);
    }
    /* Where element c of token i lies in (B, L, H n); to ask only of tokens that are there. */
    __device__ int64_t at(int i, int64_t n, int c) const {
        return (first + i * x.plan.H) * n + c;
    }
};

/* Triangles of a chunk in registers: exp(b_i - b_j) times x_i . k_j, of keys up to the token (P),
 * or before it (M). */
template <class M, class Space>
__device__ static inline void query_triangle(Sums &sums, const Space &space, const DeltaChunk &c) {
    add_product<M, false, false>(
        sums, space, c.x.plan.d, [&](int i, int a) { return c.q(i, a); },
        [&](int j, int a) { return c.k(j, a); });
    each_result(sums,
                [&](int i, int j, float &p) { p = j > i ? 0.0f : p * c.decays.between(j, i); });
}
template <class M, class Space>
__device__ static inline void key_triangle(Sums &sums, const Space &space, const DeltaChunk &c) {
    add_product<M, false, false>(
        sums, space, c.x.plan.d, [&](int i, int a) { return c.k(i, a); },
        [&](int j, int a) { return c.k(j, a); });
    each_result(sums,
                [&](int i, int j, float &p) { p = j >= i ? 0.0f : p * c.decays.between(j, i); });
}

/* W of columns c0 .. in the place of (I + M D)^-1 V, once the state before the chunk is known. A
 * barrier must follow before others read it. */
template <class M, class Space>
__device__ static inline void finish_errors(const Space &space, const DeltaChunk &c, int c0) {
    const DeltaPlan &p = c.x.plan;
    const MatrixRows reads = c.own(c.x.reads, p.d), state = c.state(c.x.states);
    Sums sums = {};
    add_product<M, false, true>(
        sums, space, p.d, [&](int i, int a) { return reads.at(i, a); },
        [&](int e, int a) { return state.at(a, c0 + e); });
    each_result(sums, [&](int i, int e, float value) {
        if (i < c.count && c0 + e < p.m) c.x.errors[c.at(i, p.m, c0 + e)] -= value;
    });
}

/* Fills inverse, reads, and errors without their second term. */
void delta_rule_open(const Run *run, const DeltaCall &x);

/* After that, from the states that forward has kept: all gradients but that of log_decay, and
 * differences; then that of log_decay (B, L, H). ends (B, H, chunks) is scratch. */
void delta_rule_gradients(const Run *run, const DeltaCall &x);
void delta_rule_decay_gradient(const Run *run, const DeltaCall &x, float *to, bool add,
                               float *ends);

#endif
