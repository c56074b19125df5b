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
    PAIR = 2,               /* channels of a quad */
    WEIGHTS = TILE * 2 * GROUP,
    QUADS = (int)WARP / QUAD, /* of a warp */
    /* Lanes of a quad are two apart, so that a lane reads the same step size as its neighbour but
     * one, and the same B and C as its neighbour: shared memory gives both at double speed. */
    APART = 2,
    WARP_CHANNELS = QUADS * PAIR,
    MOST_WARPS = 4,
    /* Where a lane keeps tokens: of three tensors twice; of five, and two that are made of them. An
     * odd number, so that lanes use different banks of shared memory. */
    SCAN_PLACES = 2 * 3 * OWN + 1,
    BACKWARD_PLACES = 7 * OWN + 1,
    /* Rows of what a warp's quads need at a token, in float4 and float2: the quads beside each
     * other, and the rows of four neighbouring tokens in different banks. */
    STEP_ROW = QUADS + 2,
    GATE_ROW = QUADS + 4,
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
    const int64_t fit = max((int64_t)1, MOST_WARPS / x.groups); /* shared memory */
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

/* What most models have: blocks of MOST_WARPS warps and one whole group of states. Kernels that are
 * WHOLE know it when they are compiled. */
static bool is_whole(const Scan &x) {
    return x.warps == MOST_WARPS && x.plan.N == GROUP;
}
#if defined __CUDA_ARCH__ && __CUDA_ARCH__ < 900
constexpr bool KNOWS_WHOLE = false; /* for older GPUs the compiler spills registers then */
#else
constexpr bool KNOWS_WHOLE = true;
#endif
template <bool WHOLE> __device__ static inline decltype(auto) as_known(const Scan &given) {
    if constexpr (WHOLE && KNOWS_WHOLE) {
        Scan x = given;
        x.plan.N = GROUP;
        x.groups = 1;
        x.warps = MOST_WARPS;
        return x;
    } else {
        return (given);
    }
}

template <bool WHOLE> __device__ static inline unsigned block_threads() {
    return WHOLE && KNOWS_WHOLE ? (unsigned)MOST_WARPS * WARP : blockDim.x;
}

/* log(1 + e^x) with a small relative error everywhere: log1p(w) = 2 atanh(r / 2), r = 2 w / (2 + w)
 * and w <= 1; the polynomial in r^2 errs by 2e-8, and only what it adds to r is rounded with it.
 * Above 20 the sum is x, as in the papers' code. */
__device__ static inline float softplus_fast(float x) {
    const float w = fast_exp2(-LOG2_E * fabsf(x)), r = w * fast_reciprocal(1.0f + 0.5f * w);
    const float s = r * r;
    float p = 5.24443342e-4f;
    p = p * s + 2.20598583e-3f;
    p = p * s + 1.25023629e-2f;
    p = p * s + 8.33332986e-2f;
    return r * s * p + (r + max(x, 0.0f));
}

/* Through y silu(z): g from the gradient of the product to that of y. */
__device__ static inline void gate_adjoint(float &g, float &dz, float z, float y) {
    const float s = sigmoid_fast(z), silu = z * s;
    dz = g * y * (s + silu * (1.0f - s));
    g *= silu;
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
    unsigned warp, quad, part; /* quad: of the warp; part: place in it */
    int segment, block, e, L;  /* e: first of two channels */
    bool live[PAIR];           /* the channel exists */
    int own[PAIR];             /* L less `part`, or 0 where there is no channel */
    int first, last;           /* tiles */
    int64_t b, origin;         /* of the lane's first token and channel in (B, L, E) */
};
/* EVEN: E is, so that both channels exist or neither. */
template <bool EVEN, bool WHOLE> __device__ static inline Stand stand_of(const Scan &x) {
    Stand s;
    s.warp = threadIdx.x / WARP;
    const unsigned lane = threadIdx.x % WARP;
    s.part = lane / APART % QUAD;
    s.quad = lane % APART + lane / ((int)APART * QUAD) * APART;
    s.block = (int)(blockIdx.x % (unsigned)x.blocks);
    s.segment = (int)(blockIdx.x / (unsigned)x.blocks % (unsigned)x.segments);
    s.b = blockIdx.x / (unsigned)x.blocks / (unsigned)x.segments;
    s.e = (s.block * (int)x.warps + (int)s.warp) * WARP_CHANNELS + (int)s.quad * PAIR;
    s.L = (int)x.plan.L;
#pragma unroll
    for (int c = 0; c < PAIR; c++) {
        s.live[c] = s.e + (WHOLE && KNOWS_WHOLE && EVEN ? 0 : c) < x.plan.E;
        s.own[c] = s.live[c] ? s.L - (int)s.part : 0;
    }
    s.first = s.segment * (int)x.tiles;
    s.last = min(s.first + (int)x.tiles, (int)x.plan.chunks);
    s.origin = (s.b * x.plan.L + s.part) * x.plan.E + s.e;
    return s;
}
__device__ static inline float2 of_channels(const Stand &at, const float *from) {
    return make_float2(at.live[0] ? from[at.e] : 0, at.live[1] ? from[at.e + 1] : 0);
}

/* A lane's tokens of a tile are QUAD g + part for g = 0 .. OWN-1: where they are in (B, L, E), and
 * how many tokens of either channel there are from the first of them on. */
struct Tokens {
    int64_t at, step;
    int left[PAIR];
};
__device__ static inline Tokens tokens_of(const Scan &x, const Stand &at, int tile) {
    const int t = tile * TILE;
    return {at.origin + t * x.plan.E, QUAD * x.plan.E, {at.own[0] - t, at.own[1] - t}};
}

/* Their values of one tensor, copied ahead into the lane's own places of shared memory. EVEN: E is,
 * so that both channels move together. */
struct Own {
    float2 v[OWN];
};
template <bool EVEN>
__device__ static inline void fetch_own(const Tokens &tokens, const float *tensor, float2 *to) {
    const float *from = tensor + tokens.at;
#pragma unroll
    for (int g = 0; g < OWN; g++, from += tokens.step) {
        if (EVEN) {
            copy_async_if(g * QUAD < tokens.left[0], to + g, from);
        } else {
            copy_async_if(g * QUAD < tokens.left[0], &to[g].x, from);
            copy_async_if(g * QUAD < tokens.left[1], &to[g].y, from + 1);
        }
    }
}
__device__ static inline Own own_of(const float2 *from) {
    Own own;
#pragma unroll
    for (int g = 0; g < OWN; g++) own.v[g] = from[g];
    return own;
}
__device__ static inline void keep_own(float2 *to, const Own &own) {
#pragma unroll
    for (int g = 0; g < OWN; g++) to[g] = own.v[g];
}
template <bool EVEN>
__device__ static inline void store_own(const Tokens &tokens, float *tensor, Own own, bool add) {
    float *to = tensor + tokens.at;
    if (add) {
#pragma unroll
        for (int g = 0; g < OWN; g++) {
            if (g * QUAD < tokens.left[0]) own.v[g].x += to[g * tokens.step];
            if (g * QUAD < tokens.left[1]) own.v[g].y += to[g * tokens.step + 1];
        }
    }
#pragma unroll
    for (int g = 0; g < OWN; g++, to += tokens.step) {
        if (EVEN) {
            if (g * QUAD < tokens.left[0]) *reinterpret_cast<float2 *>(to) = own.v[g];
        } else {
            if (g * QUAD < tokens.left[0]) to[0] = own.v[g].x;
            if (g * QUAD < tokens.left[1]) to[1] = own.v[g].y;
        }
    }
}

/* Step sizes; 0 leaves the state alone. */
__device__ static inline Own step_sizes(const Tokens &tokens, const Own &raw, float2 bias) {
    Own delta;
#pragma unroll
    for (int g = 0; g < OWN; g++) {
        const float first = softplus_fast(raw.v[g].x + bias.x);
        const float second = softplus_fast(raw.v[g].y + bias.y);
        delta.v[g].x = g * QUAD < tokens.left[0] ? first : 0.0f;
        delta.v[g].y = g * QUAD < tokens.left[1] ? second : 0.0f;
    }
    return delta;
}
/* What every lane of a quad needs at a token, step size and input of both channels: each lane
 * brings its tokens, of `steps`, the warp's rows. */
struct Step {
    float delta[PAIR], input[PAIR];
};
__device__ static inline void bring_steps(const Stand &at, float4 *steps, const Own &delta,
                                          const Own &u) {
    __syncwarp(); /* nobody reads the tile before any more */
#pragma unroll
    for (int g = 0; g < OWN; g++)
        steps[(g * QUAD + at.part) * STEP_ROW + at.quad] = make_float4(
            delta.v[g].x, delta.v[g].y, delta.v[g].x * u.v[g].x, delta.v[g].y * u.v[g].y);
}
__device__ static inline Step step_of(const Stand &at, const float4 *steps, int token) {
    const float4 four = steps[token * STEP_ROW + at.quad];
    return {{four.x, four.y}, {four.z, four.w}};
}
__device__ static inline void bring_gates(const Stand &at, float2 *gates, const Own &g) {
#pragma unroll
    for (int k = 0; k < OWN; k++) gates[(k * QUAD + at.part) * GATE_ROW + at.quad] = g.v[k];
}

/* How a thread brings B and C of one group and tile to shared memory, [token][B or C][GROUP], zero
 * beyond the ends: the same place of every `step`th token. */
struct Stage {
    const float *from; /* of the sequence's first token and the first group */
    int place, n, first, step;
};
__device__ static inline Stage stage_of(const Scan &x, const Stand &at) {
    const int width = x.plan.N % 4 == 0 ? 4 : 1, place = (int)threadIdx.x * width;
    Stage stage = {place / GROUP % 2 ? x.C : x.B, place, place % GROUP, place / (2 * GROUP),
                   (int)x.warps * width};
    stage.from += at.b * x.plan.L * x.plan.N + stage.n;
    return stage;
}
template <class T>
__device__ static inline void stage_as(const Scan &x, const Stand &at, const Stage &stage, int tile,
                                       int group, float *to) {
    const bool exists = group * GROUP + stage.n < x.plan.N;
    const float *const from = stage.from + group * GROUP;
#pragma unroll 1
    for (int t = stage.first; t < (int)TILE; t += stage.step) {
        const int token = tile * TILE + t;
        copy_async_if(exists && token < at.L,
                      reinterpret_cast<T *>(to + stage.place + (t - stage.first) * 2 * GROUP),
                      from + token * x.plan.N);
    }
}
__device__ static inline void bring_weights(const Scan &x, const Stand &at, const Stage &stage,
                                            int tile, int group, float *to) {
    if (x.plan.N % 4 == 0)
        stage_as<float4>(x, at, stage, tile, group, to);
    else
        stage_as<float>(x, at, stage, tile, group, to);
}
/* Four neighbouring states' numbers. */
struct Four {
    float of[4];
};
__device__ static inline Four four_of(float4 v) {
    return {{v.x, v.y, v.z, v.w}};
}
__device__ static inline float4 packed(const float v[4]) {
    return make_float4(v[0], v[1], v[2], v[3]);
}
__device__ static inline Four weight(const float *weights, int token, int which, unsigned part) {
    return four_of(
        *reinterpret_cast<const float4 *>(weights + (token * 2 + which) * GROUP + part * 4));
}

__device__ static inline float4 decay_of(const Scan &x, const Stand &at, int c, int n) {
    if (!at.live[c]) return make_float4(0, 0, 0, 0);
    const float4 a = load_four(x.A_log + (at.e + c) * x.plan.N, n, (int)x.plan.N);
    /* beyond N: B and C are zero */
    return make_float4(-expf(a.x) * LOG2_E, -expf(a.y) * LOG2_E, -expf(a.z) * LOG2_E,
                       -expf(a.w) * LOG2_E);
}
__device__ static inline float4 entry_of(const Scan &x, const Stand &at, int c, int n) {
    if (!at.live[c] || !x.entry) return make_float4(0, 0, 0, 0);
    const int64_t row = (at.b * x.segments + at.segment) * x.plan.E + at.e + c;
    return load_four(x.entry + row * x.plan.N, n, (int)x.plan.N);
}

/* Numbers of a thread's states, four of either channel, in registers; and where they wait in shared
 * memory, [group][channel] and then threads. */
struct States {
    Four of[PAIR];
};
template <bool WHOLE> __device__ static inline States states_at(const float4 *place, int group) {
    States s;
#pragma unroll
    for (int c = 0; c < PAIR; c++)
        s.of[c] = four_of(place[(group * PAIR + c) * block_threads<WHOLE>()]);
    return s;
}
template <bool WHOLE>
__device__ static inline void keep_states(float4 *place, int group, const States &s) {
#pragma unroll
    for (int c = 0; c < PAIR; c++)
        place[(group * PAIR + c) * block_threads<WHOLE>()] = packed(s.of[c].of);
}

/* All of them, to rows of N from channel e's on. */
template <bool WHOLE>
__device__ static inline void store_states(const Stand &at, float *rows, int N, int groups,
                                           const float4 *place) {
    for (int g = 0; g < groups; g++) {
#pragma unroll
        for (int c = 0; c < PAIR; c++)
            if (at.live[c])
                store_four(rows + c * N, g * GROUP + (int)at.part * 4, N,
                           place[(g * PAIR + c) * block_threads<WHOLE>()]);
    }
}

/* One token: the states after it. */
__device__ static inline void advance(States &s, const States &A, const Step &step, const Four &B) {
#pragma unroll
    for (int c = 0; c < PAIR; c++) {
#pragma unroll
        for (int j = 0; j < 4; j++)
            s.of[c].of[j] =
                fast_exp2(step.delta[c] * A.of[c].of[j]) * s.of[c].of[j] + step.input[c] * B.of[j];
    }
}

/* Where the states before a tile are kept, of the first channel; N further on, of the second. */
__device__ static inline float *saved_states(const Scan &x, const Stand &at, int tile) {
    return x.states + ((at.b * x.plan.chunks + tile) * x.plan.padded + at.e) * x.plan.N;
}
/* delta_sums[row ..]: the quad's sums over a segment. */
__device__ static inline void store_delta_sums(const Scan &x, const Stand &at, int64_t row,
                                               float2 sum) {
    sum = make_float2(quad_sum<APART>(sum.x), quad_sum<APART>(sum.y));
    if (at.part != 0) return;
    if (at.live[0]) x.delta_sums[row] = sum.x;
    if (at.live[1]) x.delta_sums[row + 1] = sum.y;
}

#endif
