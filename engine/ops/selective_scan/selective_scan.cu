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
 * Bounds, a token and channel of N = 16 in training, in cycles of a multiprocessor (an H200 does
 * 132 of them side by side, 1.8 a nanosecond): forward 24 bytes (1.3), 20 special functions (1.25),
 * some 35 instructions of a warp of eight channels (1.9 to 2.1 with what it takes to get at the
 * numbers). Backward 36 bytes (1.9), 21 special functions, 5 to 6 of instructions: a third of them
 * are the sums over channels and over states. */
#include "engine/ops/selective_scan/selective_scan.h"

#include "engine/cuda/columns.cuh"
#include "engine/ops/selective_scan/selective_scan_adjoint.cuh"

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
    const int N = (int)x.plan.N, groups = (int)x.groups;
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
    const auto fetch = [&](int tile) {
        fetch_three(x, at, tile, x.raw, x.u, OUTPUTS ? x.z : NULL, tokens);
    };
    fetch(at.first);
    stage(x, at, at.first, 0, weights);
    int buffer = 0;
    float delta_sum = 0;
    for (int tile = at.first; tile < at.last; tile++) {
        const float *const mine = tokens + tile % 2 * 3 * EACH;
        wait_copies();
        const Tokens here = tokens_of(x, at, tile);
        const Own delta = step_sizes(here, own_of(mine), bias), u = own_of(mine + EACH);
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
            const bool ends = group + 1 == groups;
            if (!ends || tile + 1 < at.last)
                stage(x, at, tile + ends, ends ? 0 : group + 1, weights + buffer * WEIGHTS);
            if (ends && tile + 1 < at.last) fetch(tile + 1);
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
        if constexpr (OUTPUTS) {
#pragma unroll
            for (int g = 0; g < OWN; g++) y.v[g] += skip * u.v[g];
            if (x.y) store_own(here, x.y, y, false);
            if (x.z) {
                const Own z = own_of(mine + 2 * EACH);
#pragma unroll
                for (int g = 0; g < OWN; g++) y.v[g] *= z.v[g] * sigmoid_fast(z.v[g]);
            }
            store_own(here, x.out, y, false);
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
           (size_t)(2 * WEIGHTS + 2 * tensors * OWN * SPREAD + (parts ? threads * TILE : 0)) *
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
    const auto add = [&](const float *part, int64_t columns, int input) {
        if (float *to = gradient_of(call, input))
            add_slices(run, part, columns, rows, to, call->accumulate[input]);
    };
    add(x.part_A, E * N, SCAN_A_LOG);
    add(x.part_D, E, SCAN_D);
    add(x.part_bias, E, SCAN_BIAS);
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
