/* Four lanes share a channel, four states each; a warp has eight channels and walks along a
 * sequence in tiles of SCAN_ROWS tokens, the states in registers. Each lane loads every fourth
 * token of its channel, one tile ahead, and computes softplus and gate for it once; the quad
 * exchanges them by shuffles. B and C of a tile come through shared memory, one step ahead.
 *
 * Where batch and channels do not fill the GPU, sequences are cut into segments: a first pass finds
 * what each segment does to a state (its end from zero, and the sum of delta, whose exponential is
 * the decay), a second combines them in order, and the third is the scan itself from the right
 * state. It costs the exponentials twice, so only few channels are treated so.
 *
 * Bound, a token and channel of N = 16 in training: forward 20 special functions, 1.25 cycles of a
 * multiprocessor, against 24 bytes; backward 21, 36 bytes, and 1.7 cycles of shuffles, most of them
 * for the sums over channels. On an H200 both limits are close to each other. */
#include "engine/ops/selective_scan/selective_scan.h"

#include "engine/cuda/activation.cuh"
#include "engine/ops/selective_scan/selective_scan_plan.h"

enum {
    QUAD = 4,
    GROUP = 16,        /* states that a quad works on at a time; more are taken one by one */
    TILE = SCAN_ROWS,  /* tokens between two saved states */
    OWN = TILE / QUAD, /* tokens of a lane */
    WARP_CHANNELS = WARP / QUAD,
    MOST_WARPS = 8,
    /* Sequences are cut when there are fewer blocks than multiprocessors, to about three blocks
     * each, but into no less than four tiles. The numbers are those of an H100, so that the bits do
     * not depend on the GPU. */
    FEW_BLOCKS = 128,
    ENOUGH_BLOCKS = 396,
    LEAST_TILES = 4
};
static const float LOG2_E = 1.44269504f, LN_2 = 0.693147181f;

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
    float *part_A;             /* (B, segments, E, N) */
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

/* Copies into shared memory that are done after wait_copies, for this thread; a barrier makes them
 * visible to the others. */
#ifdef LONGHAUL_EMULATED
template <class T> static inline void copy_async(T *to, const float *from) {
    std::memcpy(to, from, sizeof(T));
}
static inline void wait_copies() {
}
#else
template <class T> __device__ static inline void copy_async(T *to, const float *from) {
    asm volatile(
        "cp.async.ca.shared.global [%0], [%1], %2;" ::"r"((unsigned)__cvta_generic_to_shared(to)),
        "l"(from), "n"(sizeof(T))
        : "memory");
}
__device__ static inline void wait_copies() {
    asm volatile("cp.async.wait_all;" ::: "memory");
}
#endif
/* A lane's tokens of a tile, 4 g + part for g = 0 .. 3, are copied into its own places of shared
 * memory, [g][thread], one tile ahead. Zero where there is no token. */
struct Own {
    float v[OWN];
};
__device__ static inline void fetch_own(const Scan &x, const Stand &at, const float *from, int tile,
                                        float *to) {
#pragma unroll
    for (int g = 0; g < OWN; g++) {
        const int t = tile * TILE + g * QUAD + (int)at.part;
        if (from && at.live && t < at.L)
            copy_async(to + g * blockDim.x, from + at.origin + t * x.plan.E);
        else
            to[g * blockDim.x] = 0.0f;
    }
}
__device__ static inline Own own_of(const float *from) {
    Own own;
#pragma unroll
    for (int g = 0; g < OWN; g++) own.v[g] = from[g * blockDim.x];
    return own;
}
__device__ static inline Own step_sizes(const Stand &at, const Own &raw, float bias, int tile) {
    Own delta;
#pragma unroll
    for (int g = 0; g < OWN; g++) {
        const bool exists = at.live && tile * TILE + g * QUAD + (int)at.part < at.L;
        delta.v[g] = exists ? softplus_fast(raw.v[g] + bias) : 0.0f; /* 0 leaves the state alone */
    }
    return delta;
}

/* B and C of one group and tile, [token][B or C][GROUP], zero beyond the ends. */
enum { WEIGHTS = TILE * 2 * GROUP };
template <class T>
__device__ static inline void stage_as(const Scan &x, const Stand &at, int tile, int group,
                                       float *to) {
    const int width = sizeof(T) / sizeof(float);
    for (int i = threadIdx.x * width; i < WEIGHTS; i += blockDim.x * width) {
        const int t = tile * TILE + i / (2 * GROUP), n = group * GROUP + i % GROUP;
        const float *from = i / GROUP % 2 ? x.C : x.B;
        if (t < at.L && n < x.plan.N)
            copy_async(reinterpret_cast<T *>(to + i), from + (at.b * x.plan.L + t) * x.plan.N + n);
        else
            *reinterpret_cast<T *>(to + i) = T{};
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

__device__ static inline float from_lane(float x, unsigned lane) {
    return __shfl_sync(0xFFFFFFFFu, x, lane);
}
__device__ static inline float across(float x, unsigned by) {
    return __shfl_xor_sync(0xFFFFFFFFu, x, by);
}
__device__ static inline float quad_sum(float x) {
    x += across(x, 1);
    return x + across(x, 2);
}
/* Sums of x[0 .. 3] over the quad; lane i of it receives sum i. */
__device__ static inline float quad_share(const float x[4], unsigned part) {
    const bool odd = part & 1, high = part & 2;
    const float a = (odd ? x[1] : x[0]) + across(odd ? x[0] : x[1], 1);
    const float b = (odd ? x[3] : x[2]) + across(odd ? x[2] : x[3], 1);
    return (high ? b : a) + across(high ? a : b, 2);
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

/* One state's token. */
__device__ static inline void advance(float &s, float decay, float delta, float input, float B,
                                      float C, float &y) {
    s = fast_exp2(delta * decay) * s + input * B;
    y += s * C;
}

/* A segment of WARP_CHANNELS channels a warp. OUTPUTS: with y, otherwise only what the segment does
 * to a state. Shared: decays and states (float4 a thread and group), two tiles of weights, two of
 * tokens. */
template <bool OUTPUTS> KERNEL void __launch_bounds__(MOST_WARPS *WARP, 2) scan(const Scan x) {
    const Stand at = stand_of(x);
    const int N = (int)x.plan.N, L = at.L, groups = (int)x.groups;
    const int64_t E = x.plan.E;
    float4 *const decays = shared_memory<float4>() + threadIdx.x;
    float4 *const states = decays + groups * blockDim.x;
    float *const weights =
        reinterpret_cast<float *>(shared_memory<float4>() + 2 * groups * blockDim.x);
    for (int g = 0; g < groups; g++) {
        decays[g * blockDim.x] = decay_of(x, at, g * GROUP + at.part * 4);
        states[g * blockDim.x] =
            OUTPUTS ? entry_of(x, at, g * GROUP + at.part * 4) : make_float4(0, 0, 0, 0);
    }
    const float bias = at.live ? x.bias[at.e] : 0, skip = OUTPUTS && at.live ? x.D[at.e] : 0;
    float *const tokens = weights + 2 * WEIGHTS + threadIdx.x;
    const int each = OWN * blockDim.x;
    const auto fetch = [&](int tile) {
        float *const to = tokens + tile % 2 * 3 * each;
        fetch_own(x, at, x.raw, tile, to);
        fetch_own(x, at, x.u, tile, to + each);
        if (OUTPUTS) fetch_own(x, at, x.z, tile, to + 2 * each);
    };
    fetch(at.first);
    stage(x, at, at.first, 0, weights);
    int buffer = 0;
    float delta_sum = 0;
    for (int tile = at.first; tile < at.last; tile++) {
        const float *const mine = tokens + tile % 2 * 3 * each;
        wait_copies();
        const Own delta = step_sizes(at, own_of(mine), bias, tile), u = own_of(mine + each);
        Own input, y = {};
#pragma unroll
        for (int g = 0; g < OWN; g++) {
            input.v[g] = delta.v[g] * u.v[g];
            delta_sum += delta.v[g];
        }
        for (int group = 0; group < groups; group++) {
            const int n = group * GROUP + at.part * 4;
            wait_copies();
            __syncthreads(); /* this buffer is full, nobody reads the other one any more */
            const float *const now = weights + buffer * WEIGHTS;
            buffer ^= 1;
            if (group + 1 < groups) {
                stage(x, at, tile, group + 1, weights + buffer * WEIGHTS);
            } else if (tile + 1 < at.last) {
                stage(x, at, tile + 1, 0, weights + buffer * WEIGHTS);
                fetch(tile + 1);
            }
            const float4 A = decays[group * blockDim.x];
            float4 s = states[group * blockDim.x];
            if (OUTPUTS && x.states && at.live)
                store_four(x.states + ((at.b * x.plan.chunks + tile) * x.plan.padded + at.e) * N, n,
                           N, s);
#pragma unroll
            for (int g = 0; g < OWN; g++) {
                float sums[QUAD];
#pragma unroll
                for (int i = 0; i < QUAD; i++) {
                    const float d = from_lane(delta.v[g], at.quad + i);
                    const float v = from_lane(input.v[g], at.quad + i);
                    const float4 B = weight(now, g * QUAD + i, 0, at.part);
                    const float4 C = OUTPUTS ? weight(now, g * QUAD + i, 1, at.part) : B;
                    sums[i] = 0;
                    advance(s.x, A.x, d, v, B.x, C.x, sums[i]);
                    advance(s.y, A.y, d, v, B.y, C.y, sums[i]);
                    advance(s.z, A.z, d, v, B.z, C.z, sums[i]);
                    advance(s.w, A.w, d, v, B.w, C.w, sums[i]);
                }
                if (OUTPUTS) y.v[g] += quad_share(sums, at.part);
            }
            states[group * blockDim.x] = s;
        }
        if (!OUTPUTS) continue;
#pragma unroll
        for (int g = 0; g < OWN; g++) {
            const int t = tile * TILE + g * QUAD + (int)at.part;
            if (!at.live || t >= L) continue;
            const int64_t i = at.origin + t * E;
            float value = y.v[g] + skip * u.v[g];
            if (x.y) x.y[i] = value;
            const float z = mine[2 * each + g * blockDim.x];
            if (x.z) value *= z * sigmoid_fast(z);
            x.out[i] = value;
        }
    }
    float *const to = OUTPUTS ? x.next : x.ends;
    const int64_t row = OUTPUTS ? at.b : at.b * x.segments + at.segment;
    if (to && at.live && (!OUTPUTS || at.segment == x.segments - 1))
        for (int g = 0; g < groups; g++)
            store_four(to + (row * E + at.e) * N, g * GROUP + at.part * 4, N,
                       states[g * blockDim.x]);
    if (OUTPUTS) return;
    delta_sum = quad_sum(delta_sum);
    if (at.live && at.part == 0) x.delta_sums[row * E + at.e] = delta_sum;
}

/* y before the gate to its cotangent. */
__device__ static inline float cotangent_of(const Scan &x, float dy, float z) {
    return x.z ? dy * z * sigmoid_fast(z) : dy;
}

/* What a segment adds to the adjoint that flows out of it to earlier tokens, from zero. */
KERNEL void __launch_bounds__(MOST_WARPS *WARP, 2) scan_adjoint_ends(const Scan x) {
    const Stand at = stand_of(x);
    const int N = (int)x.plan.N, groups = (int)x.groups;
    float4 *const decays = shared_memory<float4>() + threadIdx.x;
    float4 *const carries = decays + groups * blockDim.x;
    float *const weights =
        reinterpret_cast<float *>(shared_memory<float4>() + 2 * groups * blockDim.x);
    for (int g = 0; g < groups; g++) {
        decays[g * blockDim.x] = decay_of(x, at, g * GROUP + at.part * 4);
        carries[g * blockDim.x] = make_float4(0, 0, 0, 0);
    }
    const float bias = at.live ? x.bias[at.e] : 0;
    float *const tokens = weights + 2 * WEIGHTS + threadIdx.x;
    const int each = OWN * blockDim.x;
    const auto fetch = [&](int tile) {
        float *const to = tokens + tile % 2 * 3 * each;
        fetch_own(x, at, x.raw, tile, to);
        fetch_own(x, at, x.dy, tile, to + each);
        fetch_own(x, at, x.z, tile, to + 2 * each);
    };
    int tile = at.last - 1;
    fetch(tile);
    stage(x, at, tile, 0, weights);
    int buffer = 0;
    float delta_sum = 0;
    for (; tile >= at.first; tile--) {
        const float *const mine = tokens + tile % 2 * 3 * each;
        wait_copies();
        const Own delta = step_sizes(at, own_of(mine), bias, tile);
        const Own dy = own_of(mine + each), z = own_of(mine + 2 * each);
        Own g;
#pragma unroll
        for (int k = 0; k < OWN; k++) {
            g.v[k] = cotangent_of(x, dy.v[k], z.v[k]);
            delta_sum += delta.v[k];
        }
        for (int group = 0; group < groups; group++) {
            wait_copies();
            __syncthreads();
            const float *const now = weights + buffer * WEIGHTS;
            buffer ^= 1;
            if (group + 1 < groups) {
                stage(x, at, tile, group + 1, weights + buffer * WEIGHTS);
            } else if (tile > at.first) {
                stage(x, at, tile - 1, 0, weights + buffer * WEIGHTS);
                fetch(tile - 1);
            }
            const float4 A = decays[group * blockDim.x];
            float4 carry = carries[group * blockDim.x];
#pragma unroll
            for (int t = TILE - 1; t >= 0; t--) {
                const float d = from_lane(delta.v[t / QUAD], at.quad + t % QUAD);
                const float gt = from_lane(g.v[t / QUAD], at.quad + t % QUAD);
                const float4 C = weight(now, t, 1, at.part);
                carry.x = fast_exp2(d * A.x) * (carry.x + C.x * gt);
                carry.y = fast_exp2(d * A.y) * (carry.y + C.y * gt);
                carry.z = fast_exp2(d * A.z) * (carry.z + C.z * gt);
                carry.w = fast_exp2(d * A.w) * (carry.w + C.w * gt);
            }
            carries[group * blockDim.x] = carry;
        }
    }
    const int64_t row = (at.b * x.segments + at.segment) * x.plan.E + at.e;
    if (at.live)
        for (int g = 0; g < groups; g++)
            store_four(x.ends + row * N, g * GROUP + at.part * 4, N, carries[g * blockDim.x]);
    delta_sum = quad_sum(delta_sum);
    if (at.live && at.part == 0) x.delta_sums[row] = delta_sum;
}

/* Sums over the warp's channels of v[0 .. 7]: lanes of a quad's place `part` and channel c receive
 * sum number c. */
__device__ static inline float channel_share(const float v[8], unsigned lane) {
    const bool first = lane & 4, second = lane & 8, third = lane & 16;
    float a[4], b[2];
#pragma unroll
    for (int i = 0; i < 4; i++)
        a[i] = (first ? v[2 * i + 1] : v[2 * i]) + across(first ? v[2 * i] : v[2 * i + 1], 4);
#pragma unroll
    for (int i = 0; i < 2; i++)
        b[i] = (second ? a[2 * i + 1] : a[2 * i]) + across(second ? a[2 * i] : a[2 * i + 1], 8);
    return (third ? b[1] : b[0]) + across(third ? b[0] : b[1], 16);
}

/* Everything that flows through one state at one token. */
struct Flow {
    float by_B, by_A; /* sums over the states of B lambda and A log2(e) lambda a s */
};
__device__ static inline void retreat(float &carry, float A, float a, float as, float delta,
                                      float input, float g, float B, float C, float &to_A,
                                      float &to_B, float &to_C, Flow &flow) {
    const float lambda = carry + C * g, w = lambda * as;
    to_B = input * lambda;
    to_C = (as + input * B) * g;
    flow.by_B += B * lambda;
    flow.by_A += A * w;
    to_A += delta * w;
    carry = a * lambda;
}

/* Shared: decays, adjoints and sums for A (float4 a thread and group), two tiles of weights,
 * [warp][token][2 GROUP] sums over a warp's channels, two states, two tiles
 * of tokens. */
KERNEL void __launch_bounds__(MOST_WARPS *WARP, 1) scan_backward(const Scan x) {
    const Stand at = stand_of(x);
    const int N = (int)x.plan.N, L = at.L, groups = (int)x.groups;
    const int64_t E = x.plan.E;
    const int64_t row = (at.b * x.segments + at.segment) * E + at.e;
    float4 *const decays = shared_memory<float4>() + threadIdx.x;
    float4 *const carries = decays + groups * blockDim.x;
    float4 *const sums_A = carries + groups * blockDim.x;
    float *const weights =
        reinterpret_cast<float *>(shared_memory<float4>() + 3 * groups * blockDim.x);
    float *const parts = weights + 2 * WEIGHTS;
    for (int g = 0; g < groups; g++) {
        decays[g * blockDim.x] = decay_of(x, at, g * GROUP + at.part * 4);
        carries[g * blockDim.x] = entry_of(x, at, g * GROUP + at.part * 4);
        sums_A[g * blockDim.x] = make_float4(0, 0, 0, 0);
    }
    const float bias = at.live ? x.bias[at.e] : 0, skip = at.live ? x.D[at.e] : 0;
    float *const parts_end = parts + x.warps * TILE * WARP;
    float4 *const starts = reinterpret_cast<float4 *>(parts_end) + threadIdx.x;
    const auto fetch_state = [&](int tile, int group, int buffer) {
        float4 *const to = starts + buffer * blockDim.x;
        const int n = group * GROUP + at.part * 4;
        const float *from = x.states + ((at.b * x.plan.chunks + tile) * x.plan.padded + at.e) * N;
        if (at.live && N % 4 == 0 && n < N)
            copy_async(to, from + n);
        else
            *to = at.live ? load_four(from, n, N) : make_float4(0, 0, 0, 0);
    };
    float *const tokens = parts_end + 2 * 4 * blockDim.x + threadIdx.x;
    const int each = OWN * blockDim.x;
    const auto fetch = [&](int tile) {
        float *const to = tokens + tile % 2 * 5 * each;
        fetch_own(x, at, x.raw, tile, to);
        fetch_own(x, at, x.u, tile, to + each);
        fetch_own(x, at, x.dy, tile, to + 2 * each);
        if (x.z) fetch_own(x, at, x.z, tile, to + 3 * each);
        if (x.dz) fetch_own(x, at, x.y, tile, to + 4 * each);
    };
    int tile = at.last - 1;
    fetch(tile);
    fetch_state(tile, 0, 0);
    stage(x, at, tile, 0, weights);
    int buffer = 0;
    float sum_D = 0, sum_bias = 0;
    for (; tile >= at.first; tile--) {
        const float *const mine = tokens + tile % 2 * 5 * each;
        wait_copies();
        const Own delta = step_sizes(at, own_of(mine), bias, tile), u = own_of(mine + each);
        Own g, by_B = {}, by_A = {};
#pragma unroll
        for (int k = 0; k < OWN; k++) {
            const float dy = mine[2 * each + k * blockDim.x];
            g.v[k] = dy;
            if (!x.z) continue;
            const float z = mine[3 * each + k * blockDim.x], s = sigmoid_fast(z);
            g.v[k] = dy * z * s;
            const int t = tile * TILE + k * QUAD + (int)at.part;
            if (x.dz && at.live && t < L)
                put(x.dz + at.origin + t * E,
                    dy * mine[4 * each + k * blockDim.x] * (s + z * s * (1.0f - s)), x.add_z);
        }
        for (int group = 0; group < groups; group++) {
            wait_copies();
            __syncthreads();
            const float *const now = weights + buffer * WEIGHTS;
            buffer ^= 1;
            if (group + 1 < groups) {
                stage(x, at, tile, group + 1, weights + buffer * WEIGHTS);
                fetch_state(tile, group + 1, buffer);
            } else if (tile > at.first) {
                stage(x, at, tile - 1, 0, weights + buffer * WEIGHTS);
                fetch_state(tile - 1, 0, buffer);
                fetch(tile - 1);
            }
            const float4 A = decays[group * blockDim.x];
            float4 s = starts[(buffer ^ 1) * blockDim.x];
            float4 a[TILE], as[TILE]; /* decays, decayed states */
#pragma unroll
            for (int t = 0; t < TILE; t++) {
                const float d = from_lane(delta.v[t / QUAD], at.quad + t % QUAD);
                const float v = from_lane(delta.v[t / QUAD] * u.v[t / QUAD], at.quad + t % QUAD);
                const float4 B = weight(now, t, 0, at.part);
                a[t] = make_float4(fast_exp2(d * A.x), fast_exp2(d * A.y), fast_exp2(d * A.z),
                                   fast_exp2(d * A.w));
                as[t] = make_float4(a[t].x * s.x, a[t].y * s.y, a[t].z * s.z, a[t].w * s.w);
                s = make_float4(as[t].x + v * B.x, as[t].y + v * B.y, as[t].z + v * B.z,
                                as[t].w + v * B.w);
            }
            float4 carry = carries[group * blockDim.x], sum_A = sums_A[group * blockDim.x];
#pragma unroll
            for (int k = OWN - 1; k >= 0; k--) {
                Flow flow[QUAD] = {};
#pragma unroll
                for (int i = QUAD - 1; i >= 0; i--) {
                    const int t = k * QUAD + i;
                    const float d = from_lane(delta.v[k], at.quad + i);
                    const float v = from_lane(delta.v[k] * u.v[k], at.quad + i);
                    const float gt = from_lane(g.v[k], at.quad + i);
                    const float4 B = weight(now, t, 0, at.part), C = weight(now, t, 1, at.part);
                    float to[8]; /* for B, then for C, of the four states */
                    retreat(carry.x, A.x, a[t].x, as[t].x, d, v, gt, B.x, C.x, sum_A.x, to[0],
                            to[4], flow[i]);
                    retreat(carry.y, A.y, a[t].y, as[t].y, d, v, gt, B.y, C.y, sum_A.y, to[1],
                            to[5], flow[i]);
                    retreat(carry.z, A.z, a[t].z, as[t].z, d, v, gt, B.z, C.z, sum_A.z, to[2],
                            to[6], flow[i]);
                    retreat(carry.w, A.w, a[t].w, as[t].w, d, v, gt, B.w, C.w, sum_A.w, to[3],
                            to[7], flow[i]);
                    parts[(threadIdx.x / WARP * TILE + t) * WARP + at.lane] =
                        channel_share(to, at.lane);
                }
                const float all_B[QUAD] = {flow[0].by_B, flow[1].by_B, flow[2].by_B, flow[3].by_B};
                const float all_A[QUAD] = {flow[0].by_A, flow[1].by_A, flow[2].by_A, flow[3].by_A};
                by_B.v[k] += quad_share(all_B, at.part);
                by_A.v[k] += quad_share(all_A, at.part);
            }
            carries[group * blockDim.x] = carry;
            sums_A[group * blockDim.x] = sum_A;
            __syncthreads(); /* the warps' sums; they are read before the next barrier */
            for (int i = threadIdx.x; i < (int)TILE * WARP; i += blockDim.x) {
                float sum = 0;
                for (int w = 0; w < x.warps; w++) sum += parts[w * TILE * WARP + i];
                const int t = tile * TILE + i / WARP;
                /* lane 4 c + part holds sum c: state 4 part + c % 4 of B (c < 4) or C */
                const int c = i % WARP / QUAD, part = i % QUAD;
                const int n = part * 4 + c % 4;
                if (t < L)
                    x.part_BC[((((at.block * x.plan.B + at.b) * L + t) * x.groups + group) * 2 +
                               c / 4) *
                                  GROUP +
                              n] = sum;
            }
        }
#pragma unroll
        for (int k = 0; k < OWN; k++) {
            const int t = tile * TILE + k * QUAD + (int)at.part;
            const int64_t i = at.origin + t * E;
            if (!at.live || t >= L) continue;
            const float r = mine[k * blockDim.x] + bias, slope = r > 20.0f ? 1.0f : sigmoid_fast(r);
            const float step = (by_A.v[k] * LN_2 + u.v[k] * by_B.v[k]) * slope;
            sum_D += g.v[k] * u.v[k];
            sum_bias += step;
            if (x.du) put(x.du + i, skip * g.v[k] + delta.v[k] * by_B.v[k], x.add_u);
            if (x.draw) put(x.draw + i, step, x.add_raw);
        }
    }
    sum_D = quad_sum(sum_D);
    sum_bias = quad_sum(sum_bias);
    if (!at.live) return;
    for (int g = 0; g < groups; g++) {
        const int n = g * GROUP + at.part * 4;
        store_four(x.part_A + row * N, n, N, sums_A[g * blockDim.x]);
        if (!x.dstate || at.segment != 0) continue;
        float *const to = x.dstate + (at.b * E + at.e) * N;
        float4 carry = carries[g * blockDim.x];
        if (x.add_state) {
            const float4 old = load_four(to, n, N);
            carry = make_float4(old.x + carry.x, old.y + carry.y, old.z + carry.z, old.w + carry.w);
        }
        store_four(to, n, N, carry);
    }
    if (at.part != 0) return;
    x.part_D[row] = sum_D;
    x.part_bias[row] = sum_bias;
}

/* From what each segment does alone to what flows into each one, in place; start (B, E, N) or NULL
 * for zero flows into the first, or with `backwards` into the last. */
static void join_segments(const Run *run, const Scan &x, const float *start, bool backwards) {
    const int64_t N = x.plan.N, E = x.plan.E, segments = x.segments;
    float *const ends = x.ends;
    const float *const A_log = x.A_log, *const delta_sums = x.delta_sums;
    for_each(run, x.plan.B * E * N, [=] __device__(int64_t i) {
        const int64_t state = i % (E * N), b = i / (E * N);
        const float decay = -expf(A_log[state]) * LOG2_E;
        float flow = start ? start[i] : 0;
        for (int64_t k = 0; k < segments; k++) {
            const int64_t row = b * segments + (backwards ? segments - 1 - k : k);
            const float end = ends[row * E * N + state];
            const float kept = fast_exp2(decay * delta_sums[row * E + state / N]);
            ends[row * E * N + state] = flow;
            flow = kept * flow + end;
        }
    });
}

/* Of kernels with so many float4 a thread and group, and tokens of so many tensors. */
static size_t shared_bytes(const Scan &x, int states, int tensors, bool parts) {
    const int64_t threads = x.warps * WARP;
    return (size_t)(x.groups * threads * states) * sizeof(float4) +
           (size_t)(2 * WEIGHTS + 2 * tensors * OWN * threads + (parts ? threads * TILE : 0)) *
               sizeof(float);
}
static unsigned grid_of(const Scan &x) {
    return (unsigned)(x.blocks * x.segments * x.plan.B);
}

static void take_segments(Scan *x, Carver *carver) {
    if (x->segments == 1) return;
    x->ends = carver->take<float>(x->plan.B * x->segments * x->plan.E * x->plan.N);
    x->delta_sums = carver->take<float>(x->plan.B * x->segments * x->plan.E);
}

static void forward(const OpCall *call, const Run *run) {
    Scan x = scan_of(call);
    Carver carver = {static_cast<unsigned char *>(call->scratch)};
    const float *const start = data_of(call, SCAN_STATE);
    const unsigned threads = (unsigned)x.warps * WARP;
    take_segments(&x, &carver);
    x.states = call->saves ? call->saved[SCAN_SAVED_STATES]->data : NULL;
    x.y = call->saves > 1 ? call->saved[SCAN_SAVED_Y]->data : NULL;
    x.out = call->out[0]->data;
    x.next = call->outputs > 1 ? call->out[1]->data : NULL;
    x.entry = start;
    if (x.segments > 1) {
        LAUNCH(run, scan<false>, grid_of(x), threads, shared_bytes(x, 2, 3, false), x);
        join_segments(run, x, start, false);
        x.entry = x.ends;
    }
    LAUNCH(run, scan<true>, grid_of(x), threads, shared_bytes(x, 2, 3, false), x);
}

/* to[i] = or += sum over rows of part[row, i], times -exp(log[i]) where there is a log. */
static void sum_rows(const Run *run, const float *part, int64_t rows, int64_t columns,
                     const float *log, float *to, bool accumulate) {
    if (!to) return;
    for_each(run, columns, [=] __device__(int64_t i) {
        float sum = 0;
        for (int64_t row = 0; row < rows; row++) sum += part[row * columns + i];
        put(to + i, log ? -expf(log[i]) * sum : sum, accumulate);
    });
}

static void sum_blocks(const Run *run, const Scan &x, int which, float *to, bool accumulate) {
    if (!to) return;
    const int64_t N = x.plan.N, groups = x.groups, blocks = x.blocks;
    const int64_t tokens = x.plan.B * x.plan.L;
    const float *const part = x.part_BC;
    for_each(run, tokens * N, [=] __device__(int64_t i) {
        const int64_t n = i % N, token = i / N;
        float sum = 0;
        for (int64_t block = 0; block < blocks; block++)
            sum += part[(((block * tokens + token) * groups + n / GROUP) * 2 + which) * GROUP +
                        n % GROUP];
        put(to + i, sum, accumulate);
    });
}

static void backward(const OpCall *call, const Run *run) {
    Scan x = scan_of(call);
    const int64_t N = x.plan.N, E = x.plan.E, B = x.plan.B, rows = B * x.segments;
    Carver carver = {static_cast<unsigned char *>(call->scratch)};
    const unsigned threads = (unsigned)x.warps * WARP;
    const float *const dnext = call->outputs > 1 ? call->out[1]->gradient : NULL;
    x.states = call->saved[SCAN_SAVED_STATES]->data;
    x.y = call->saves > 1 ? call->saved[SCAN_SAVED_Y]->data : NULL;
    x.dy = call->out[0]->gradient;
    x.du = gradient_of(call, SCAN_U);
    x.draw = gradient_of(call, SCAN_RAW);
    x.dz = gradient_of(call, SCAN_Z);
    x.dstate = gradient_of(call, SCAN_STATE);
    x.add_u = call->accumulate[SCAN_U];
    x.add_raw = call->accumulate[SCAN_RAW];
    x.add_z = call->accumulate[SCAN_Z];
    x.add_state = call->accumulate[SCAN_STATE];
    x.part_A = carver.take<float>(rows * E * N);
    x.part_D = carver.take<float>(rows * E);
    x.part_bias = carver.take<float>(rows * E);
    x.part_BC = carver.take<float>(x.blocks * B * x.plan.L * x.groups * 2 * GROUP);
    take_segments(&x, &carver);
    x.entry = dnext;
    if (x.segments > 1) {
        LAUNCH(run, scan_adjoint_ends, grid_of(x), threads, shared_bytes(x, 2, 3, false), x);
        join_segments(run, x, dnext, true);
        x.entry = x.ends;
    }
    LAUNCH(run, scan_backward, grid_of(x), threads, shared_bytes(x, 3, 6, true), x);
    sum_blocks(run, x, 0, gradient_of(call, SCAN_B), call->accumulate[SCAN_B]);
    sum_blocks(run, x, 1, gradient_of(call, SCAN_C), call->accumulate[SCAN_C]);
    sum_rows(run, x.part_A, rows, E * N, x.A_log, gradient_of(call, SCAN_A_LOG),
             call->accumulate[SCAN_A_LOG]);
    sum_rows(run, x.part_D, rows, E, NULL, gradient_of(call, SCAN_D), call->accumulate[SCAN_D]);
    sum_rows(run, x.part_bias, rows, E, NULL, gradient_of(call, SCAN_BIAS),
             call->accumulate[SCAN_BIAS]);
}

static size_t scratch(const OpCall *call, Phase phase) {
    const Scan x = scan_of(call);
    const int64_t rows = x.plan.B * x.segments, E = x.plan.E, N = x.plan.N;
    size_t bytes = x.segments > 1 ? carved(rows * E * N, 4) + carved(rows * E, 4) : 0;
    if (phase == PHASE_BACKWARD)
        bytes += carved(rows * E * N, 4) + 2 * carved(rows * E, 4) +
                 carved(x.blocks * x.plan.B * x.plan.L * x.groups * 2 * GROUP, 4);
    return bytes;
}

CUDA_OP(selective_scan, {forward, backward}, scratch);
