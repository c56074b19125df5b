/* Gated linear attention on a GPU: the chunks of all heads at the same time, a block of threads
 * each, between passes along the states. What the CPU lays out for a chunk (see
 * gated_linear_attention_simd.h for levels and spans) lies in device memory for all of them. */
#ifndef LONGHAUL_OPS_GATED_LINEAR_ATTENTION_CUH
#define LONGHAUL_OPS_GATED_LINEAR_ATTENTION_CUH

#include "engine/cuda/chunk_product.cuh"
#include "engine/ops/gated_linear_attention/gated_linear_attention_plan.h"

static_assert(TILE == GATED_CHUNK, "a tile has the tokens of a chunk");
static_assert(STRIP == GATED_BLOCK, "a warp has the rows of a block");
static_assert(THREADS == 2 * TILE, "two threads for a row of weights");
constexpr int T = TILE, BLOCK = GATED_BLOCK, LEVELS = GATED_LEVELS;

struct GatedCall {
    GatedPlan plan;
    float scale;
    const float *q, *k, *v, *log_decay;
    float *out;
    /* (B, H, chunks, C, d), where no token is as if a were one, q and k zero: a, and queries and
     * keys, scaled, that have decayed since the begin or until the end of their spans. */
    float *decay, *queries[LEVELS], *keys[LEVELS];
    float *totals[LEVELS]; /* (B, H, chunks, C / span, d): whole decays of spans */
    float *states;         /* (B, H, chunks, state): before each chunk */
    /* backward */
    const float *G;      /* dO */
    float *dstates;      /* (B, H, chunks, state): of the states behind each chunk */
    float *differences;  /* (B, H, chunks, C, d): q dq - k dk */
    float *dq, *dk, *dv; /* NULL: not wanted */
    bool add_q, add_k, add_v;
};

/* A chunk of one head. */
struct GatedChunk {
    int64_t unit, number; /* b H + h; of the head's chunks */
    int64_t place;        /* among the chunks of all heads */
    int count;            /* tokens */
    int64_t first;        /* (b L + t) H + h of the first one */
    __device__ GatedChunk(const GatedPlan &p, int64_t place)
        : unit(place / p.chunks), number(place % p.chunks), place(place) {
        const int64_t left = p.L - number * T;
        count = left < T ? (int)left : T;
        first = (unit / p.H * p.L + number * T) * p.H + unit % p.H;
    }
    /* Its part of a tensor (B, L, H width). */
    __device__ MatrixRows tokens(const GatedPlan &p, const float *from, int64_t width) const {
        return {from + first * width, p.H * width, count, (int)width};
    }
    /* Of (B, H, chunks, rows, d). */
    __device__ MatrixRows own(const GatedPlan &p, const float *from, int rows) const {
        return {from + place * rows * p.d, p.d, rows, (int)p.d};
    }
    /* Of (B, H, chunks, state). */
    __device__ MatrixRows state(const GatedPlan &p, const float *from) const {
        return {from + place * p.state, p.m, (int)p.d, (int)p.m};
    }
};

/* P of all pairs of tokens but those of the same block, for which it is zero. */
template <class M, class Space>
__device__ static inline void far_weights(Sums &p, const Space &space, const GatedCall &x,
                                          const GatedChunk &c) {
    for (int level = 0; level < LEVELS - 1; level++) {
        const int span = BLOCK << level;
        const MatrixRows q = c.own(x.plan, x.queries[level], T),
                         k = c.own(x.plan, x.keys[level], T);
        add_product<M, false, false>(
            p, space, x.plan.d, [&](int i, int a) { return i / span % 2 == 1 ? q.at(i, a) : 0.0f; },
            [&](int j, int a) { return j / span % 2 == 0 ? k.at(j, a) : 0.0f; });
        each_result(p, [&](int i, int j, float &value) {
            if (i / (2 * span) != j / (2 * span)) value = 0;
        });
    }
}

/* P inside blocks, into a square that holds the far weights; TURNED: at [j][i]. Two threads a row,
 * for even and odd channels. */
template <class M, bool TURNED>
__device__ static inline void block_weights(const SharedTile<typename M::Element, T> &square,
                                            const GatedCall &x, const GatedChunk &c) {
    const int i = (int)threadIdx.x / 2, part = (int)threadIdx.x % 2, begin = i / BLOCK * BLOCK;
    const MatrixRows q = c.tokens(x.plan, x.q, x.plan.d), k = c.tokens(x.plan, x.k, x.plan.d);
    const MatrixRows decay = c.own(x.plan, x.decay, T);
    float sums[BLOCK] = {};
    for (int a = part; a < x.plan.d; a += 2) {
        float query = x.scale * q.at(i, a);
#pragma unroll
        for (int j = BLOCK - 1; j >= 0; j--) {
            if (begin + j > i) continue;
            sums[j] += query * k.at(begin + j, a);
            query *= decay.at(begin + j, a);
        }
    }
#pragma unroll
    for (int j = 0; j < BLOCK; j++) {
        const float sum = sums[j] + across(sums[j], 1);
        if (j % 2 != part) continue;
        *square.at((unsigned)(TURNED ? begin + j : i), (unsigned)(TURNED ? i : begin + j)) =
            rounded_number<M>(sum);
    }
}

/* All of P into a square. */
template <class M, bool TURNED, class Space>
__device__ static inline void weigh(const Space &space, int square, const GatedCall &x,
                                    const GatedChunk &c) {
    Sums p = {};
    far_weights<M>(p, space, x, c);
    store_square<M, TURNED>(p, space.square(square));
    __syncthreads();
    block_weights<M, TURNED>(space.square(square), x, c);
}

/* A pass along the states, forwards or, for their gradients, backwards: from `begin` (NULL: zero)
 * in the first place, S <- diag(decay of the chunk) S + rows^T values in the next one. */
struct GatedPass {
    bool back;
    const float *begin;  /* (B, H, state) */
    const float *rows;   /* queries or keys of the last level */
    const float *values; /* (B, L, H m) */
    float *states;       /* (B, H, chunks, state) */
    float *behind;       /* (B, H, state): scratch for what comes behind the last place, */
    float *end;          /* which goes there; both NULL: not wanted */
    bool add;            /* to what is there */
};
void gated_pass(const Run *run, const GatedCall &x, const GatedPass &pass);

/* Takes the scratch that both phases have, and fills it. */
GatedCall gated_prepare(const OpCall *call, const Run *run, Carver &carver);
size_t gated_prepared(const GatedPlan &plan);

void gated_linear_attention_gradients(const OpCall *call, const Run *run);

#endif
