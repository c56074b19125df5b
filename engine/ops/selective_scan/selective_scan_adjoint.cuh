/* Backward kernels of the selective scan: the states of a tile are computed again from the saved
 * one before it and kept in registers, with their decays, while the adjoint runs back through it.
 */
#ifndef LONGHAUL_SELECTIVE_SCAN_ADJOINT_H
#define LONGHAUL_SELECTIVE_SCAN_ADJOINT_H

#include "engine/ops/selective_scan/selective_scan_lanes.cuh"

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
    const auto fetch = [&](int tile) { fetch_three(x, at, tile, x.raw, x.dy, x.z, tokens); };
    int tile = at.last - 1;
    fetch(tile);
    stage(x, at, tile, 0, weights);
    int buffer = 0;
    float delta_sum = 0;
    for (; tile >= at.first; tile--) {
        const float *const mine = tokens + tile % 2 * 3 * EACH;
        wait_copies();
        const Own delta = step_sizes(tokens_of(x, at, tile), own_of(mine), bias);
        Own g = own_of(mine + EACH);
        if (x.z) {
            const Own z = own_of(mine + 2 * EACH);
#pragma unroll
            for (int k = 0; k < OWN; k++) g.v[k] *= z.v[k] * sigmoid_fast(z.v[k]);
        }
#pragma unroll
        for (int k = 0; k < OWN; k++) delta_sum += delta.v[k];
        for (int group = 0; group < groups; group++) {
            wait_copies();
            __syncthreads();
            const float *const now = weights + buffer * WEIGHTS;
            buffer ^= 1;
            const bool ends = group + 1 == groups;
            if (!ends || tile > at.first)
                stage(x, at, tile - ends, ends ? 0 : group + 1, weights + buffer * WEIGHTS);
            if (ends && tile > at.first) fetch(tile - 1);
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
        if (N % 4 == 0)
            copy_async_if(at.live && n < N, to, from + n);
        else
            *to = at.live ? load_four(from, n, N) : make_float4(0, 0, 0, 0);
    };
    float *const tokens = parts_end + 2 * 4 * blockDim.x + threadIdx.x;
    const auto fetch = [&](int tile) {
        const Tokens next = tokens_of(x, at, tile);
        float *const to = tokens + tile % 2 * 5 * EACH;
        fetch_own(next, x.raw, to);
        fetch_own(next, x.u, to + EACH);
        fetch_own(next, x.dy, to + 2 * EACH);
        if (x.z) fetch_own(next, x.z, to + 3 * EACH);
        if (x.dz) fetch_own(next, x.y, to + 4 * EACH);
    };
    int tile = at.last - 1;
    fetch(tile);
    fetch_state(tile, 0, 0);
    stage(x, at, tile, 0, weights);
    int buffer = 0;
    float sum_D = 0, sum_bias = 0;
    for (; tile >= at.first; tile--) {
        const float *const mine = tokens + tile % 2 * 5 * EACH;
        wait_copies();
        const Tokens here = tokens_of(x, at, tile);
        const Own delta = step_sizes(here, own_of(mine), bias), u = own_of(mine + EACH);
        Own g = own_of(mine + 2 * EACH), by_B = {}, by_A = {};
        if (x.z) {
            const Own z = own_of(mine + 3 * EACH), before = own_of(mine + 4 * EACH);
            Own dz;
#pragma unroll
            for (int k = 0; k < OWN; k++) {
                const float s = sigmoid_fast(z.v[k]), silu = z.v[k] * s;
                dz.v[k] = g.v[k] * before.v[k] * (s + silu * (1.0f - s));
                g.v[k] *= silu;
            }
            if (x.dz) store_own(here, x.dz, dz, x.add_z);
        }
        for (int group = 0; group < groups; group++) {
            wait_copies();
            __syncthreads();
            const float *const now = weights + buffer * WEIGHTS;
            buffer ^= 1;
            const bool ends = group + 1 == groups;
            if (!ends || tile > at.first) {
                stage(x, at, tile - ends, ends ? 0 : group + 1, weights + buffer * WEIGHTS);
                fetch_state(tile - ends, ends ? 0 : group + 1, buffer);
            }
            if (ends && tile > at.first) fetch(tile - 1);
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
        Own du, draw;
#pragma unroll
        for (int k = 0; k < OWN; k++) {
            const float r = mine[k * SPREAD] + bias, slope = r > 20.0f ? 1.0f : sigmoid_fast(r);
            du.v[k] = skip * g.v[k] + delta.v[k] * by_B.v[k];
            draw.v[k] = (by_A.v[k] * LN_2 + u.v[k] * by_B.v[k]) * slope;
            sum_D += g.v[k] * u.v[k];
            sum_bias += here.exists[k] ? draw.v[k] : 0.0f;
        }
        if (x.du) store_own(here, x.du, du, x.add_u);
        if (x.draw) store_own(here, x.draw, draw, x.add_raw);
    }
    sum_D = quad_sum(sum_D);
    sum_bias = quad_sum(sum_bias);
    if (!at.live) return;
    for (int g = 0; g < groups; g++) {
        const int n = g * GROUP + at.part * 4;
        const float4 A = decays[g * blockDim.x], sum = sums_A[g * blockDim.x]; /* A log2(e) */
        store_four(x.part_A + row * N, n, N,
                   make_float4(A.x * LN_2 * sum.x, A.y * LN_2 * sum.y, A.z * LN_2 * sum.z,
                               A.w * LN_2 * sum.w));
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

#endif
