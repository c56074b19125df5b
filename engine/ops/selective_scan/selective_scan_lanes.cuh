/* What the kernels of the selective scan share: how work is cut, where a thread stands, and how it
 * gets at its tokens, states and weights. */
#ifndef LONGHAUL_SELECTIVE_SCAN_LANES_H
#define LONGHAUL_SELECTIVE_SCAN_LANES_H

#include "engine/cuda/activation.cuh"
#include "engine/cuda/copies.cuh"
#include "engine/cuda/quad.cuh"
#include "engine/ops/selective_scan/selective_scan_plan.h"

enum {
    GROUP = 16,             /* states that a quad works on at a time; more are taken one by one */
    TILE = SCAN_ROWS,       /* tokens between two saved states */
    OWN = TILE / (int)QUAD, /* tokens of a lane */
    WEIGHTS = TILE * 2 * GROUP,
    WARP_CHANNELS = (int)WARP / QUAD,
    MOST_WARPS = 8,
    SPREAD = MOST_WARPS * (int)WARP,
    /* Sequences are cut when there are fewer blocks than multiprocessors, to about two blocks
     * each, but into no less than four tiles. The numbers are those of an H100, so that the bits do
     * not depend on the GPU. */
    FEW_BLOCKS = 128,
    ENOUGH_BLOCKS = 264,
    LEAST_TILES = 4
};
static constexpr float LN_2 = 0.693147181f;

struct Scan {
    Plan plan;
    int64_t groups;          /* of states */
    int64_t blocks, warps;   /* of channels; warps of a block */
    int64_t segments, tiles; /* tiles of a segment */
    const float *u, *raw, *A_log, *B, *C, *D, *bias, *z;
    const float *entry; /* (B, segments, E, N) or NULL for zero: state before, or adjoint after */
    float *states, *y, *out, *next; /* NULL where not wanted */
    float *ends, *delta_sums;       /* (B, segments, E, N), (B, segments, E): what a segment does */
    /* backward */
    const float *dy;
    float *du, *draw, *dz;
    bool add_u, add_raw, add_z;
    float *dstate;
    bool add_state;
    float *part_BC;            /* (blocks, B, L, groups, 2, GROUP) */
    float *part_A;             /* (B, segments, E, N): of log A */
    float *part_D, *part_bias; /* (B, segments, E) */
};

static Scan scan_of(const OpCall *call) {
    Scan x = {};
    x.plan = selective_scan_plan(call);
    x.groups = (x.plan.N + GROUP - 1) / GROUP;
    const int64_t fit = max((int64_t)1, 2 * MOST_WARPS / x.groups); /* shared memory */
    x.warps = min((x.plan.E + WARP_CHANNELS - 1) / WARP_CHANNELS, min(fit, (int64_t)MOST_WARPS));
    x.blocks = (x.plan.E + x.warps * WARP_CHANNELS - 1) / (x.warps * WARP_CHANNELS);
    const int64_t blocks = x.blocks * x.plan.B;
    const int64_t wanted = blocks < FEW_BLOCKS ? (ENOUGH_BLOCKS + blocks - 1) / blocks : 1;
    x.segments = max((int64_t)1, min(wanted, x.plan.chunks / LEAST_TILES));
    x.tiles = (x.plan.chunks + x.segments - 1) / x.segments;
    x.segments = (x.plan.chunks + x.tiles - 1) / x.tiles;
    x.u = call->in[SCAN_U]->data;
    x.raw = call->in[SCAN_RAW]->data;
    x.A_log = call->in[SCAN_A_LOG]->data;
    x.B = call->in[SCAN_B]->data;
    x.C = call->in[SCAN_C]->data;
    x.D = call->in[SCAN_D]->data;
    x.bias = call->in[SCAN_BIAS]->data;
    x.z = data_of(call, SCAN_Z);
    return x;
}

/* log(1 + e^x) with a small relative error everywhere: log1p(w) = 2 atanh(w / (2 + w)), w <= 1. */
__device__ static inline float softplus_fast(float x) {
    const float w = fast_exp2(-LOG2_E * fabsf(x)), r = fast_quotient(w, 2.0f + w), s = r * r;
    float p = 1.0f / 15;
    p = p * s + 1.0f / 13;
    p = p * s + 1.0f / 11;
    p = p * s + 1.0f / 9;
    p = p * s + 1.0f / 7;
    p = p * s + 1.0f / 5;
    p = p * s + 1.0f / 3;
    const float log1p_w = 2 * r + 2 * r * s * p;
    return x > 20.0f ? x : max(x, 0.0f) + log1p_w;
}
__device__ static inline float sigmoid_fast(float x) {
    return fast_quotient(1.0f, 1.0f + fast_exp2(-LOG2_E * x));
}

/* Four numbers row[n ..] of a row of N; those beyond it are zero and not written. */
__device__ static inline float4 load_four(const float *row, int n, int N) {
    if (N % 4 == 0)
        return n < N ? *reinterpret_cast<const float4 *>(row + n) : make_float4(0, 0, 0, 0);
    return make_float4(n < N ? row[n] : 0, n + 1 < N ? row[n + 1] : 0, n + 2 < N ? row[n + 2] : 0,
                       n + 3 < N ? row[n + 3] : 0);
}
__device__ static inline void store_four(float *row, int n, int N, float4 v) {
    if (N % 4 == 0) {
        if (n < N) *reinterpret_cast<float4 *>(row + n) = v;
        return;
    }
    if (n < N) row[n] = v.x;
    if (n + 1 < N) row[n + 1] = v.y;
    if (n + 2 < N) row[n + 2] = v.z;
    if (n + 3 < N) row[n + 3] = v.w;
}

/* Where a thread stands. */
struct Stand {
    unsigned lane, quad, part; /* quad: its first lane; part: place in it */
    int segment, block, e, L;
    bool live;         /* the channel exists */
    int first, last;   /* tiles */
    int64_t b, origin; /* of the channel's first token in (B, L, E) */
};
__device__ static inline Stand stand_of(const Scan &x) {
    Stand s;
    s.lane = threadIdx.x % WARP;
    s.part = s.lane % QUAD;
    s.quad = s.lane - s.part;
    s.block = (int)(blockIdx.x % (unsigned)x.blocks);
    s.segment = (int)(blockIdx.x / (unsigned)x.blocks % (unsigned)x.segments);
    s.b = blockIdx.x / (unsigned)x.blocks / (unsigned)x.segments;
    s.e =
        (s.block * (int)x.warps + (int)(threadIdx.x / WARP)) * WARP_CHANNELS + (int)(s.lane / QUAD);
    s.live = s.e < x.plan.E;
    s.L = (int)x.plan.L;
    s.first = s.segment * (int)x.tiles;
    s.last = min(s.first + (int)x.tiles, (int)x.plan.chunks);
    s.origin = s.b * x.plan.L * x.plan.E + s.e;
    return s;
}

/* A lane's tokens of a tile, 4 g + part for g = 0 .. 3: places in (B, L, E). */
struct Tokens {
    int64_t at[OWN];
    bool exists[OWN];
};
__device__ static inline Tokens tokens_of(const Scan &x, const Stand &at, int tile) {
    Tokens tokens;
    const int t = tile * TILE + (int)at.part;
#pragma unroll
    for (int g = 0; g < OWN; g++) {
        tokens.at[g] = at.origin + (t + g * QUAD) * x.plan.E;
        tokens.exists[g] = at.live && t + g * QUAD < at.L;
    }
    return tokens;
}

/* Their values of one tensor. They are copied into the lane's own places of shared memory, [g] and
 * then SPREAD places of threads, one tile ahead. */
struct Own {
    float v[OWN];
};
__device__ static inline void fetch_own(const Tokens &tokens, const float *from, float *to) {
#pragma unroll
    for (int g = 0; g < OWN; g++)
        copy_async_if(tokens.exists[g], to + g * SPREAD, from + tokens.at[g]);
}
/* Of three tensors, `third` may be NULL, into one of two buffers. */
enum { EACH = OWN * SPREAD };
__device__ static inline void fetch_three(const Scan &x, const Stand &at, int tile,
                                          const float *first, const float *second,
                                          const float *third, float *tokens) {
    const Tokens next = tokens_of(x, at, tile);
    float *const to = tokens + tile % 2 * 3 * EACH;
    fetch_own(next, first, to);
    fetch_own(next, second, to + EACH);
    if (third) fetch_own(next, third, to + 2 * EACH);
}
__device__ static inline Own own_of(const float *from) {
    Own own;
#pragma unroll
    for (int g = 0; g < OWN; g++) own.v[g] = from[g * SPREAD];
    return own;
}
__device__ static inline void store_own(const Tokens &tokens, float *to, const Own &own, bool add) {
    Own old = {};
    if (add) {
#pragma unroll
        for (int g = 0; g < OWN; g++)
            if (tokens.exists[g]) old.v[g] = to[tokens.at[g]];
    }
#pragma unroll
    for (int g = 0; g < OWN; g++)
        if (tokens.exists[g]) to[tokens.at[g]] = add ? old.v[g] + own.v[g] : own.v[g];
}
__device__ static inline Own step_sizes(const Tokens &tokens, const Own &raw, float bias) {
    Own delta;
#pragma unroll
    for (int g = 0; g < OWN; g++) /* 0 leaves the state alone */
        delta.v[g] = tokens.exists[g] ? softplus_fast(raw.v[g] + bias) : 0.0f;
    return delta;
}

/* B and C of one group and tile, [token][B or C][GROUP], zero beyond the ends. */
template <class T>
__device__ static inline void stage_as(const Scan &x, const Stand &at, int tile, int group,
                                       float *to) {
    const int width = sizeof(T) / sizeof(float), N = (int)x.plan.N;
#pragma unroll 1
    for (int i = threadIdx.x * width; i < WEIGHTS; i += blockDim.x * width) {
        const int t = tile * TILE + i / (2 * GROUP), n = group * GROUP + i % GROUP;
        const float *from = i / GROUP % 2 ? x.C : x.B;
        copy_async_if(t < at.L && n < N, reinterpret_cast<T *>(to + i),
                      from + (at.b * x.plan.L + t) * N + n);
    }
}
__device__ static inline void stage(const Scan &x, const Stand &at, int tile, int group,
                                    float *to) {
    if (x.plan.N % 4 == 0)
        stage_as<float4>(x, at, tile, group, to);
    else
        stage_as<float>(x, at, tile, group, to);
}
__device__ static inline float4 weight(const float *weights, int token, int which, unsigned part) {
    return *reinterpret_cast<const float4 *>(weights + (token * 2 + which) * GROUP + part * 4);
}

__device__ static inline float4 decay_of(const Scan &x, const Stand &at, int n) {
    float4 a = make_float4(0, 0, 0, 0);
    if (!at.live) return a;
    a = load_four(x.A_log + at.e * x.plan.N, n, x.plan.N); /* beyond N: B and C are zero */
    return make_float4(-expf(a.x) * LOG2_E, -expf(a.y) * LOG2_E, -expf(a.z) * LOG2_E,
                       -expf(a.w) * LOG2_E);
}
__device__ static inline float4 entry_of(const Scan &x, const Stand &at, int n) {
    if (!at.live || !x.entry) return make_float4(0, 0, 0, 0);
    const int64_t row = (at.b * x.segments + at.segment) * x.plan.E + at.e;
    return load_four(x.entry + row * x.plan.N, n, x.plan.N);
}

#endif
