/* Backward kernels of the selective scan: the states of a tile are computed again from the saved
 * one before it and kept in registers while the adjoint runs back. Decays are computed in both
 * directions: registers are dearer. */
#ifndef LONGHAUL_SELECTIVE_SCAN_ADJOINT_H
#define LONGHAUL_SELECTIVE_SCAN_ADJOINT_H

#include "engine/ops/selective_scan/selective_scan_lanes.cuh"

enum {
    PART_ROW = MOST_WARPS * QUADS + 2, /* other banks for neighbouring rows */
    PARTS = 2 * QUAD * QUAD * PART_ROW
};

/* What a segment adds to the adjoint that flows out of it to earlier tokens, from zero. Shared:
 * decays and adjoints, steps, two tiles of weights, two of tokens, gates. */
template <bool EVEN, bool WHOLE>
KERNEL void __launch_bounds__(MOST_WARPS *WARP, 2) scan_adjoint_ends(const Scan given) {
    const Scan &x = as_known<WHOLE>(given);
    const Stand at = stand_of<EVEN, WHOLE>(x);
    const Stage stage = stage_of(x, at);
    const int N = (int)x.plan.N, groups = (int)x.groups;
    const unsigned threads = block_threads<WHOLE>();
    float4 *const decays = shared_memory<float4>() + threadIdx.x;
    float4 *const carries = decays + groups * PAIR * threads;
    float4 *const all_steps = shared_memory<float4>() + 2 * groups * PAIR * threads;
    float4 *const steps = all_steps + at.warp * TILE * STEP_ROW;
    float *const weights = reinterpret_cast<float *>(all_steps + x.warps * TILE * STEP_ROW);
    float2 *const all_tokens = reinterpret_cast<float2 *>(weights + 2 * WEIGHTS);
    float2 *const tokens = all_tokens + threadIdx.x * SCAN_PLACES;
    float2 *const gates = all_tokens + threads * SCAN_PLACES + at.warp * TILE * GATE_ROW;
    for (int g = 0; g < groups; g++) {
#pragma unroll
        for (int c = 0; c < PAIR; c++) {
            decays[(g * PAIR + c) * threads] = decay_of(x, at, c, g * GROUP + (int)at.part * 4);
            carries[(g * PAIR + c) * threads] = make_float4(0, 0, 0, 0);
        }
    }
    const float2 bias = of_channels(at, x.bias);
    const auto fetch = [&](int tile) {
        const Tokens next = tokens_of(x, at, tile);
        float2 *const to = tokens + tile % 2 * 3 * OWN;
        fetch_own<EVEN>(next, x.raw, to);
        fetch_own<EVEN>(next, x.dy, to + OWN);
        if (x.z) fetch_own<EVEN>(next, x.z, to + 2 * OWN);
    };
    int tile = at.last - 1;
    fetch(tile);
    bring_weights(x, at, stage, tile, 0, weights);
    int buffer = 0;
    float2 delta_sum = make_float2(0, 0);
    for (; tile >= at.first; tile--) {
        const float2 *const mine = tokens + tile % 2 * 3 * OWN;
        wait_copies();
        const Tokens here = tokens_of(x, at, tile);
        const Own delta = step_sizes(here, own_of(mine), bias);
        Own g = own_of(mine + OWN);
        if (x.z) {
            const Own z = own_of(mine + 2 * OWN);
#pragma unroll
            for (int k = 0; k < OWN; k++) {
                g.v[k].x *= z.v[k].x * sigmoid_fast(z.v[k].x);
                g.v[k].y *= z.v[k].y * sigmoid_fast(z.v[k].y);
            }
        }
        bring_steps(at, steps, delta, delta);
        bring_gates(at, gates, g);
#pragma unroll
        for (int k = 0; k < OWN; k++) {
            delta_sum.x += delta.v[k].x;
            delta_sum.y += delta.v[k].y;
        }
        for (int group = 0; group < groups; group++) {
            wait_copies();
            __syncthreads();
            const float *const now = weights + buffer * WEIGHTS;
            buffer ^= 1;
            const bool ends = group + 1 == groups;
            if (!ends || tile > at.first)
                bring_weights(x, at, stage, tile - ends, ends ? 0 : group + 1,
                              weights + buffer * WEIGHTS);
            if (ends && tile > at.first) fetch(tile - 1);
            const States A = states_at<WHOLE>(decays, group);
            States carry = states_at<WHOLE>(carries, group);
#pragma unroll
            for (int t = TILE - 1; t >= 0; t--) {
                const Step step = step_of(at, steps, t);
                const float2 gate = gates[t * GATE_ROW + at.quad];
                const Four C = weight(now, t, 1, at.part);
#pragma unroll
                for (int c = 0; c < PAIR; c++) {
#pragma unroll
                    for (int j = 0; j < 4; j++)
                        carry.of[c].of[j] =
                            fast_exp2(step.delta[c] * A.of[c].of[j]) *
                            (carry.of[c].of[j] + C.of[j] * (c == 0 ? gate.x : gate.y));
                }
            }
            keep_states<WHOLE>(carries, group, carry);
        }
    }
    const int64_t row = (at.b * x.segments + at.segment) * x.plan.E + at.e;
    store_states<WHOLE>(at, x.ends + row * N, N, groups, carries);
    store_delta_sums(x, at, row, delta_sum);
}

/* Sums over the states of a thread, of one token: B lambda, and A log2(e) lambda a s. */
struct Flow {
    float by_B[PAIR][QUAD], by_A[PAIR][QUAD]; /* of four tokens */
};

/* One token backwards. carry: the adjoint that comes from later tokens, and then the one that goes
 * to earlier ones; after, before: the states after and before the token. */
__device__ static inline void retreat(States &carry, States &sum_A, const States &A,
                                      const States &before, const States &after, const Step &step,
                                      float2 gate, const Four &B, const Four &C, Flow &flow,
                                      int token, Four &to_B, Four &to_C) {
#pragma unroll
    for (int c = 0; c < PAIR; c++) {
        const float g = c == 0 ? gate.x : gate.y;
        float by_B = 0, by_A = 0;
#pragma unroll
        for (int j = 0; j < 4; j++) {
            const float lambda = carry.of[c].of[j] + C.of[j] * g;
            const float back = fast_exp2(step.delta[c] * A.of[c].of[j]) * lambda,
                        w = back * before.of[c].of[j];
            to_B.of[j] = c == 0 ? step.input[c] * lambda : to_B.of[j] + step.input[c] * lambda;
            to_C.of[j] = c == 0 ? g * after.of[c].of[j] : to_C.of[j] + g * after.of[c].of[j];
            by_B = j == 0 ? B.of[j] * lambda : by_B + B.of[j] * lambda;
            by_A = j == 0 ? A.of[c].of[j] * w : by_A + A.of[c].of[j] * w;
            sum_A.of[c].of[j] += step.delta[c] * w;
            carry.of[c].of[j] = back;
        }
        flow.by_B[c][token] = by_B;
        flow.by_A[c][token] = by_A;
    }
}

/* Sums over the quads of a block, in parts [token of four][B or C][part of the states][quad], zero
 * where there is no quad; two of them take turns. Four lanes of a warp take every fourth quad; the
 * order of parts among lanes avoids conflicts of banks. */
struct QuadSums {
    const float4 *from; /* of the warp's token */
    float *to;          /* in part_BC, of the warp's first token and group 0 */
    int row;            /* of part_BC */
    unsigned turn;
};
template <bool WHOLE>
__device__ static inline QuadSums quad_sums_of(const Scan &x, const Stand &at, float4 *parts) {
    const int lane = (int)threadIdx.x % WARP, which = lane / 16;
    const int part = lane / 4 % 2 * 2 + lane / 8 % 2;
    QuadSums sums;
    sums.row = (int)x.groups * 2 * GROUP;
    sums.turn = (unsigned)lane % QUAD;
    sums.from = parts + (((int)at.warp * 2 + which) * (int)QUAD + part) * PART_ROW + sums.turn;
    sums.to = x.part_BC + ((at.block * x.plan.B + at.b) * at.L + at.warp) * (int64_t)sums.row +
              which * GROUP + part * 4 + sums.turn;
    for (int i = (int)threadIdx.x; i < 2 * PARTS; i += (int)block_threads<WHOLE>())
        parts[i] = make_float4(0, 0, 0, 0);
    __syncthreads();
    return sums;
}
/* Token `first` + warp, and `ahead` more; to: of part_BC. */
__device__ static inline void sum_quads(const Stand &at, const QuadSums &sums, int first, int ahead,
                                        int buffer, float *to) {
    const float4 *const from = sums.from + buffer * PARTS + ahead * 2 * QUAD * PART_ROW;
    Four sum = four_of(from[0]);
#pragma unroll
    for (int q = QUAD; q < MOST_WARPS * (int)QUADS; q += QUAD) {
        const Four v = four_of(from[q]);
#pragma unroll
        for (int j = 0; j < 4; j++) sum.of[j] += v.of[j];
    }
    const float total = quad_share(sum.of, sums.turn);
    const int t = first + ahead;
    if (t + (int)at.warp < at.L) to[(int64_t)t * sums.row] = total;
}

/* Shared: decays, adjoints and sums for A, steps, two tiles of weights, a tile of tokens (step
 * sizes, u, dy, z, y) and what of them is needed at its end (u, slope of softplus), gates,
 * states, parts of sums. */
template <bool EVEN, bool WHOLE>
KERNEL void __launch_bounds__(MOST_WARPS *WARP, 2) scan_backward(const Scan given) {
    const Scan &x = as_known<WHOLE>(given);
    const Stand at = stand_of<EVEN, WHOLE>(x);
    const int N = (int)x.plan.N, groups = (int)x.groups;
    const unsigned threads = block_threads<WHOLE>();
    float4 *const decays = shared_memory<float4>() + threadIdx.x;
    float4 *const carries = decays + groups * PAIR * threads;
    float4 *const sums_A = carries + groups * PAIR * threads;
    float4 *const all_steps = shared_memory<float4>() + 3 * groups * PAIR * threads;
    float4 *const steps = all_steps + at.warp * TILE * STEP_ROW;
    float *const weights = reinterpret_cast<float *>(all_steps + x.warps * TILE * STEP_ROW);
    float2 *const all_tokens = reinterpret_cast<float2 *>(weights + 2 * WEIGHTS);
    float2 *const mine = all_tokens + threadIdx.x * BACKWARD_PLACES, *const kept = mine + 5 * OWN;
    float2 *const all_gates = all_tokens + threads * BACKWARD_PLACES;
    float2 *const gates = all_gates + at.warp * TILE * GATE_ROW;
    float4 *const all_starts = reinterpret_cast<float4 *>(all_gates + x.warps * TILE * GATE_ROW);
    float4 *const starts = all_starts + threadIdx.x, *const parts = all_starts + PAIR * threads;
    const QuadSums quad_sums = quad_sums_of<WHOLE>(x, at, parts);
    float4 *const own_parts = parts + at.part * PART_ROW + at.warp * QUADS + at.quad;
    for (int g = 0; g < groups; g++) {
#pragma unroll
        for (int c = 0; c < PAIR; c++) {
            const int n = g * GROUP + (int)at.part * 4, place = (g * PAIR + c) * (int)threads;
            decays[place] = decay_of(x, at, c, n);
            carries[place] = entry_of(x, at, c, n);
            sums_A[place] = make_float4(0, 0, 0, 0);
        }
    }
    const float2 bias = of_channels(at, x.bias), skip = of_channels(at, x.D);
    const auto fetch_states = [&](int tile, int group) {
        const int n = group * GROUP + (int)at.part * 4;
        const float *const from = saved_states(x, at, tile);
#pragma unroll
        for (int c = 0; c < PAIR; c++) {
            float4 *const to = starts + c * threads;
            if (N % 4 == 0)
                copy_async_if(at.live[c] && n < N, to, from + c * N + n);
            else
                *to = at.live[c] ? load_four(from + c * N, n, N) : make_float4(0, 0, 0, 0);
        }
    };
    const auto fetch = [&](int tile) {
        const Tokens next = tokens_of(x, at, tile);
        fetch_own<EVEN>(next, x.raw, mine);
        fetch_own<EVEN>(next, x.u, mine + OWN);
        fetch_own<EVEN>(next, x.dy, mine + 2 * OWN);
        if (x.z) fetch_own<EVEN>(next, x.z, mine + 3 * OWN);
        if (x.dz) fetch_own<EVEN>(next, x.y, mine + 4 * OWN);
    };
    int tile = at.last - 1;
    fetch(tile);
    fetch_states(tile, 0);
    bring_weights(x, at, stage_of(x, at), tile, 0, weights);
    int buffer = 0;
    float2 sum_D = make_float2(0, 0), sum_bias = make_float2(0, 0);
    for (; tile >= at.first; tile--) {
        wait_copies();
        const Tokens here = tokens_of(x, at, tile);
        Own by_B = {}, by_A = {};
        {
            const Own raw = own_of(mine), u = own_of(mine + OWN);
            const Own delta = step_sizes(here, raw, bias);
            bring_steps(at, steps, delta, u);
            Own g = own_of(mine + 2 * OWN), slope;
            if (x.z) {
                const Own z = own_of(mine + 3 * OWN), y = own_of(mine + 4 * OWN);
                Own dz;
#pragma unroll
                for (int k = 0; k < OWN; k++) {
                    gate_adjoint(g.v[k].x, dz.v[k].x, z.v[k].x, y.v[k].x);
                    gate_adjoint(g.v[k].y, dz.v[k].y, z.v[k].y, y.v[k].y);
                }
                if (x.dz) store_own<EVEN>(here, x.dz, dz, x.add_z);
            }
            bring_gates(at, gates, g);
#pragma unroll
            for (int k = 0; k < OWN; k++) {
                slope.v[k].x = sigmoid_fast(raw.v[k].x + bias.x);
                slope.v[k].y = sigmoid_fast(raw.v[k].y + bias.y);
                sum_D.x += g.v[k].x * u.v[k].x;
                sum_D.y += g.v[k].y * u.v[k].y;
            }
            keep_own(kept, u);
            keep_own(kept + OWN, slope);
        }
        for (int group = 0; group < groups; group++) {
            wait_copies();
            __syncthreads();
            const float *const now = weights + buffer * WEIGHTS;
            const States start = states_at<WHOLE>(starts, 0);
            buffer ^= 1;
            const bool ends = group + 1 == groups;
            if (!ends || tile > at.first) {
                bring_weights(x, at, stage_of(x, at), tile - ends, ends ? 0 : group + 1,
                              weights + buffer * WEIGHTS);
                fetch_states(tile - ends, ends ? 0 : group + 1);
            }
            if (ends && tile > at.first) fetch(tile - 1);
            const States A = states_at<WHOLE>(decays, group);
            States carry = states_at<WHOLE>(carries, group),
                   sum_A = states_at<WHOLE>(sums_A, group);
            float *const sums_to = quad_sums.to + group * 2 * GROUP;
            States before[TILE], s = start;
#pragma unroll
            for (int t = 0; t < (int)TILE; t++) {
                before[t] = s;
                advance(s, A, step_of(at, steps, t), weight(now, t, 0, at.part));
            }
#pragma unroll
            for (int four = OWN - 1; four >= 0; four--) {
                Flow flow;
#pragma unroll
                for (int i = QUAD - 1; i >= 0; i--) {
                    const int t = four * QUAD + i;
                    Four to_B, to_C;
                    retreat(carry, sum_A, A, before[t], t + 1 < (int)TILE ? before[t + 1] : s,
                            step_of(at, steps, t), gates[t * GATE_ROW + at.quad],
                            weight(now, t, 0, at.part), weight(now, t, 1, at.part), flow, i, to_B,
                            to_C);
                    float4 *const to = own_parts + four % 2 * PARTS + i * 2 * QUAD * PART_ROW;
                    to[0] = packed(to_B.of);
                    to[(int)QUAD * PART_ROW] = packed(to_C.of);
                }
                by_B.v[four].x += quad_share<APART>(flow.by_B[0], at.part);
                by_B.v[four].y += quad_share<APART>(flow.by_B[1], at.part);
                by_A.v[four].x += quad_share<APART>(flow.by_A[0], at.part);
                by_A.v[four].y += quad_share<APART>(flow.by_A[1], at.part);
                const int first = tile * TILE + four * QUAD;
                __syncthreads(); /* parts are full; those before them are read no more */
                for (int ahead = (int)x.warps; ahead < QUAD; ahead += (int)x.warps)
                    if (at.warp + ahead < QUAD)
                        sum_quads(at, quad_sums, first, ahead, four % 2, sums_to);
                sum_quads(at, quad_sums, first, 0, four % 2, sums_to);
            }
            keep_states<WHOLE>(carries, group, carry);
            keep_states<WHOLE>(sums_A, group, sum_A);
        }
        if constexpr (WHOLE && KNOWS_WHOLE)
            __syncwarp(); /* so that loads for what follows do not take registers from the loop
                             above */
        Own du, draw;
        const Own u = own_of(kept), slope = own_of(kept + OWN);
#pragma unroll
        for (int k = 0; k < OWN; k++) {
            const int t = k * QUAD + (int)at.part;
            const Step step = step_of(at, steps, t);
            const float2 g = gates[t * GATE_ROW + at.quad];
            du.v[k].x = skip.x * g.x + step.delta[0] * by_B.v[k].x;
            du.v[k].y = skip.y * g.y + step.delta[1] * by_B.v[k].y;
            draw.v[k].x = (by_A.v[k].x * LN_2 + u.v[k].x * by_B.v[k].x) * slope.v[k].x;
            draw.v[k].y = (by_A.v[k].y * LN_2 + u.v[k].y * by_B.v[k].y) * slope.v[k].y;
            sum_bias.x += k * QUAD < here.left[0] ? draw.v[k].x : 0.0f;
            sum_bias.y += k * QUAD < here.left[1] ? draw.v[k].y : 0.0f;
        }
        if (x.du) store_own<EVEN>(here, x.du, du, x.add_u);
        if (x.draw) store_own<EVEN>(here, x.draw, draw, x.add_raw);
    }
    const int64_t row = (at.b * x.segments + at.segment) * x.plan.E + at.e;
    const float D[PAIR] = {quad_sum<APART>(sum_D.x), quad_sum<APART>(sum_D.y)};
    const float of_bias[PAIR] = {quad_sum<APART>(sum_bias.x), quad_sum<APART>(sum_bias.y)};
#pragma unroll
    for (int c = 0; c < PAIR; c++) {
        if (!at.live[c]) continue;
        if (at.part == 0) {
            x.part_D[row + c] = D[c];
            x.part_bias[row + c] = of_bias[c];
        }
        for (int g = 0; g < groups; g++) {
            const int n = g * GROUP + (int)at.part * 4, place = (g * PAIR + c) * (int)threads;
            const float4 A = decays[place], sum = sums_A[place]; /* A log2(e) */
            store_four(x.part_A + (row + c) * N, n, N,
                       make_float4(A.x * LN_2 * sum.x, A.y * LN_2 * sum.y, A.z * LN_2 * sum.z,
                                   A.w * LN_2 * sum.w));
            if (!x.dstate || at.segment != 0) continue;
            float *const to = x.dstate + (at.b * x.plan.E + at.e + c) * N;
            float4 carry = carries[place];
            if (x.add_state) {
                const float4 old = load_four(to, n, N);
                carry =
                    make_float4(old.x + carry.x, old.y + carry.y, old.z + carry.z, old.w + carry.w);
            }
            store_four(to, n, N, carry);
        }
    }
}

#endif
