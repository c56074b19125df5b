/* Taylor attention on a GPU: a call as its kernels see it, rows and features of a tile of tokens.
 */
#ifndef LONGHAUL_OPS_TAYLOR_ATTENTION_CUH
#define LONGHAUL_OPS_TAYLOR_ATTENTION_CUH

#include "engine/cuda/chunk_product.cuh"
#include "engine/ops/taylor_attention/taylor_plan.h"

static_assert(TILE == TAYLOR_TILE, "a tile has the tokens of a chunk");

struct TaylorCall {
    TaylorPlan plan;
    float epsilon;
    const float *qkv;
    float *denominators; /* as TAYLOR_SAVED_DENOMINATORS */
    float *states;       /* as TAYLOR_SAVED_STATES */
    float *out;
    /* backward */
    const float *dout;
    float *to_norm; /* (B, L, H): u */
    float *dstates; /* as states: of the state behind each chunk */
    float *dqkv;    /* NULL: not wanted */
    bool add;
};

/* Tokens of one head; all rows that it hands out are zero behind the last token. */
struct TaylorTile {
    const TaylorCall &x;
    int64_t unit, b, h, number; /* unit: b H + h; number: of the sequence's tiles */
    int64_t token;
    int count;
    __device__ TaylorTile(const TaylorCall &x, int64_t unit, int64_t number)
        : x(x), unit(unit), b(unit / x.plan.H), h(unit % x.plan.H), number(number),
          token(number * TILE) {
        const int64_t left = x.plan.L - token;
        count = left < TILE ? (int)left : TILE;
    }
    __device__ bool reads() const {
        return !x.plan.pairs && (x.plan.starts || number > 0);
    }
    __device__ bool adds() const {
        return !x.plan.pairs && (x.plan.starts || number + 1 < x.plan.tiles);
    }
    /* Tiles whose tokens meet this one's as pairs: keys of earlier ones, queries of later ones. */
    __device__ int64_t first() const {
        return x.plan.pairs ? 0 : number;
    }
    __device__ int64_t last() const {
        return x.plan.pairs ? x.plan.tiles - 1 : number;
    }
    __device__ MatrixRows q() const {
        return {x.qkv + taylor_q(&x.plan, b, token, h), x.plan.row, count, (int)x.plan.d};
    }
    __device__ MatrixRows k() const {
        return {x.qkv + taylor_k(&x.plan, b, token, h), x.plan.row, count, (int)x.plan.d};
    }
    __device__ MatrixRows v() const {
        return {x.qkv + taylor_v(&x.plan, b, token, h), x.plan.row, count, (int)x.plan.m};
    }
    __device__ MatrixRows results(const float *from) const {
        return {from + taylor_out(&x.plan, b, token, h), x.plan.H * x.plan.m, count, (int)x.plan.m};
    }
    /* Of one of the tensors (B, H, tiles, state). */
    __device__ float *state(float *of) const {
        return of + (unit * x.plan.tiles + number) * x.plan.state;
    }
    __device__ MatrixRows matrix(const float *state) const {
        return {state, x.plan.m, (int)x.plan.F, (int)x.plan.m};
    }
    /* Place of a token's number in (B, L, H). */
    __device__ int64_t place(int i) const {
        return (b * x.plan.L + token + i) * x.plan.H + h;
    }
};

/* Which two channels each feature is the product of; channel d is one. */
struct TaylorPairs {
    unsigned short of[1 + TAYLOR_WIDEST + TAYLOR_WIDEST * (TAYLOR_WIDEST + 1) / 2];
    /* By the whole block; a barrier must follow. */
    __device__ void fill(int d) {
        for (int a = (int)threadIdx.x; a <= d; a += THREADS) {
            if (a == d) {
                of[0] = (unsigned short)(d << 8 | d);
                continue;
            }
            of[1 + a] = (unsigned short)(d << 8 | a);
            const int before = 1 + d + a * d - a * (a - 1) / 2;
            for (int b = a; b < d; b++) of[before + b - a] = (unsigned short)(b << 8 | a);
        }
    }
    __device__ int first(int f) const {
        return of[f] & 255;
    }
    __device__ int second(int f) const {
        return of[f] >> 8;
    }
};

/* phi(q), with queries / sqrt(d) and squares of one channel halved, or psi(k). */
struct TaylorFeatures {
    MatrixRows rows;
    const TaylorPairs &pairs;
    float scale, square;
    int count;
    __device__ float channel(int i, int a) const {
        return a == rows.columns ? 1.0f : rows.from[i * rows.row + a] * scale;
    }
    __device__ float at(int i, int f) const {
        if (i >= rows.rows || f >= count) return 0;
        const int a = pairs.first(f), b = pairs.second(f);
        const float x = channel(i, a) * channel(i, b);
        return a == b && a < rows.columns ? x * square : x;
    }
};
__device__ static inline TaylorFeatures query_features(const TaylorTile &tile,
                                                       const TaylorPairs &pairs) {
    return {tile.q(), pairs, tile.x.plan.scale, 0.5f, (int)tile.x.plan.F};
}
__device__ static inline TaylorFeatures key_features(const TaylorTile &tile,
                                                     const TaylorPairs &pairs) {
    return {tile.k(), pairs, 1.0f, 1.0f, (int)tile.x.plan.F};
}

/* What chunks add to the states, then the states before them; likewise backwards. start, end (B, H,
 * state): NULL for zero and for not wanted. */
void taylor_forward_states(const Run *run, const TaylorCall &x, const float *start, float *end);
void taylor_backward_states(const Run *run, const TaylorCall &x, const float *start, float *end,
                            bool add_end);

#endif
