/* Four lanes share two channels, four states of each a lane; a warp has sixteen channels and walks
 * along a sequence in tiles of SCAN_ROWS tokens, the states in registers. Each lane loads every
 * fourth token of its channels, one tile ahead, and computes softplus and gate for it once; the
 * quad gets step sizes and inputs through shared memory, like B and C of a tile, one step ahead.
 *
 * Where batch and channels do not fill the GPU, sequences are cut into segments: a first pass finds
 * what each segment does to a state (its end from zero, and the sum of delta, whose exponential is
 * the decay), a second combines them in order, and the third is the scan itself from the right
 * state. It costs the exponentials twice, so only few channels are treated so.
 *
 * Bounds, a token of 32 channels of N = 16 in training, in cycles of a quarter of a multiprocessor
 * (an H200 has 528 of them, 1.8 cycles a nanosecond; a warp's special function takes it 8, other
 * instructions 1; shared memory gives a warp a float each every 4, or every 2 where lanes agree):
 * - forward: 768 bytes (170), 20 special functions (160), 150 instructions of which 80 are the
 *   states' own (delta A, its power, input, state, output), 100 of shared memory;
 * - backward: 1152 bytes (255), 37 special functions (296: decays are computed twice), 388
 *   instructions of which 224 are the states' own and 60 sums over channels and states, 320 of
 *   shared memory. */
#include "engine/ops/selective_scan/selective_scan.h"

#include "engine/cuda/columns.cuh"
#include "engine/ops/selective_scan/selective_scan_adjoint.cuh"

/* A segment of WARP_CHANNELS channels a warp. OUTPUTS: with y, otherwise only what the segment does
 * to a state. Shared: decays and states, two tiles of weights, steps, two tiles of tokens. */
template <bool OUTPUTS, bool EVEN, bool WHOLE>
KERNEL void __launch_bounds__(MOST_WARPS *WARP, 2) scan(const Scan given) {
    const Scan &x = as_known<WHOLE>(given);
    const Stand at = stand_of<EVEN, WHOLE>(x);
    const Stage stage = stage_of(x, at);
    const int N = (int)x.plan.N, groups = (int)x.groups;
    const int64_t E = x.plan.E;
    const unsigned threads = block_threads<WHOLE>();
    float4 *const decays = shared_memory<float4>() + threadIdx.x;
    float4 *const states = decays + groups * PAIR * threads;
    float4 *const all_steps = shared_memory<float4>() + 2 * groups * PAIR * threads;
    float4 *const steps = all_steps + at.warp * TILE * STEP_ROW;
    float *const weights = reinterpret_cast<float *>(all_steps + x.warps * TILE * STEP_ROW);
    float2 *const tokens =
        reinterpret_cast<float2 *>(weights + 2 * WEIGHTS) + threadIdx.x * SCAN_PLACES;
    for (int g = 0; g < groups; g++) {
#pragma unroll
        for (int c = 0; c < PAIR; c++) {
            const int n = g * GROUP + (int)at.part * 4, place = (g * PAIR + c) * (int)threads;
            decays[place] = decay_of(x, at, c, n);
            states[place] = OUTPUTS ? entry_of(x, at, c, n) : make_float4(0, 0, 0, 0);
        }
    }
    const float2 bias = of_channels(at, x.bias);
    const float2 skip = OUTPUTS ? of_channels(at, x.D) : make_float2(0, 0);
    const auto fetch = [&](int tile) {
        const Tokens next = tokens_of(x, at, tile);
        float2 *const to = tokens + tile % 2 * 3 * OWN;
        fetch_own<EVEN>(next, x.raw, to);
        fetch_own<EVEN>(next, x.u, to + OWN);
        if (OUTPUTS && x.z) fetch_own<EVEN>(next, x.z, to + 2 * OWN);
    };
    fetch(at.first);
    bring_weights(x, at, stage, at.first, 0, weights);
    int buffer = 0;
    float2 delta_sum = make_float2(0, 0);
    for (int tile = at.first; tile < at.last; tile++) {
        const float2 *const mine = tokens + tile % 2 * 3 * OWN;
        wait_copies();
        const Tokens here = tokens_of(x, at, tile);
        const Own delta = step_sizes(here, own_of(mine), bias);
        bring_steps(at, steps, delta, own_of(mine + OWN));
        if (!OUTPUTS) {
#pragma unroll
            for (int g = 0; g < OWN; g++) {
                delta_sum.x += delta.v[g].x;
                delta_sum.y += delta.v[g].y;
            }
        }
        Own y = {};
        for (int group = 0; group < groups; group++) {
            const int n = group * GROUP + (int)at.part * 4;
            wait_copies();
            __syncthreads(); /* this buffer is full, nobody reads the other one any more */
            const float *const now = weights + buffer * WEIGHTS;
            buffer ^= 1;
            const bool ends = group + 1 == groups;
            if (!ends || tile + 1 < at.last)
                bring_weights(x, at, stage, tile + ends, ends ? 0 : group + 1,
                              weights + buffer * WEIGHTS);
            if (ends && tile + 1 < at.last) fetch(tile + 1);
            const States A = states_at<WHOLE>(decays, group);
            States s = states_at<WHOLE>(states, group);
            if (OUTPUTS && x.states) {
                float *const kept = saved_states(x, at, tile);
#pragma unroll
                for (int c = 0; c < PAIR; c++)
                    if (at.live[c]) store_four(kept + c * N, n, N, packed(s.of[c].of));
            }
#pragma unroll
            for (int g = 0; g < OWN; g++) {
                if (WHOLE && KNOWS_WHOLE && g % 2 == 0) __syncwarp(); /* keeps powers spread out */
                float sums[PAIR][QUAD];
#pragma unroll
                for (int i = 0; i < QUAD; i++) {
                    const Step step = step_of(at, steps, g * QUAD + i);
                    const Four B = weight(now, g * QUAD + i, 0, at.part);
                    advance(s, A, step, B);
                    if (!OUTPUTS) continue;
                    const Four C = weight(now, g * QUAD + i, 1, at.part);
#pragma unroll
                    for (int c = 0; c < PAIR; c++) {
                        sums[c][i] = s.of[c].of[0] * C.of[0];
#pragma unroll
                        for (int j = 1; j < 4; j++) sums[c][i] += s.of[c].of[j] * C.of[j];
                    }
                }
                if (!OUTPUTS) continue;
                y.v[g].x += quad_share<APART>(sums[0], at.part);
                y.v[g].y += quad_share<APART>(sums[1], at.part);
            }
            keep_states<WHOLE>(states, group, s);
        }
        if constexpr (OUTPUTS) {
            const Own u = own_of(mine + OWN);
#pragma unroll
            for (int g = 0; g < OWN; g++) {
                y.v[g].x += skip.x * u.v[g].x;
                y.v[g].y += skip.y * u.v[g].y;
            }
            if (x.y) store_own<EVEN>(here, x.y, y, false);
            if (x.z) {
                const Own z = own_of(mine + 2 * OWN);
#pragma unroll
                for (int g = 0; g < OWN; g++) {
                    y.v[g].x *= z.v[g].x * sigmoid_fast(z.v[g].x);
                    y.v[g].y *= z.v[g].y * sigmoid_fast(z.v[g].y);
                }
            }
            store_own<EVEN>(here, x.out, y, false);
        }
    }
    float *const to = OUTPUTS ? x.next : x.ends;
    const int64_t row = (OUTPUTS ? at.b : at.b * x.segments + at.segment) * E + at.e;
    if (to && (!OUTPUTS || at.segment == x.segments - 1))
        store_states<WHOLE>(at, to + row * N, N, groups, states);
    if (!OUTPUTS) store_delta_sums(x, at, row, delta_sum);
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

/* Of a kernel with so many numbers of each state, and so many places of a lane. */
static size_t shared_bytes(const Scan &x, int states, int places) {
    const int64_t threads = x.warps * WARP, steps = x.warps * TILE * STEP_ROW;
    return (size_t)(x.groups * PAIR * threads * states + steps) * sizeof(float4) +
           2 * WEIGHTS * sizeof(float) + (size_t)(threads * places) * sizeof(float2);
}
/* What backward kernels need besides. */
static size_t gate_bytes(const Scan &x) {
    return (size_t)(x.warps * TILE * GATE_ROW) * sizeof(float2);
}
static size_t part_bytes(const Scan &x) {
    return (size_t)(PAIR * x.warps * WARP + 2 * PARTS) * sizeof(float4);
}
static unsigned grid_of(const Scan &x) {
    return (unsigned)(x.blocks * x.segments * x.plan.B);
}

/* A kernel for an even number of channels and WHOLE, one for an even number, or one for any. */
typedef void Kernel(Scan);
static Kernel *kernel_for(const Scan &x, Kernel *whole, Kernel *even, Kernel *any) {
    return x.plan.E % PAIR != 0 ? any : is_whole(x) ? whole : even;
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
        launch_named("selective_scan segments", run,
                     kernel_for(x, scan<false, true, true>, scan<false, true, false>,
                                scan<false, false, false>),
                     grid_of(x), threads, shared_bytes(x, 2, SCAN_PLACES), x);
        join_segments(run, x, start, false);
        x.entry = x.ends;
    }
    launch_named(
        "selective_scan", run,
        kernel_for(x, scan<true, true, true>, scan<true, true, false>, scan<true, false, false>),
        grid_of(x), threads, shared_bytes(x, 2, SCAN_PLACES), x);
}

/* Gradients of B and C, of the blocks' sums. */
static void sum_blocks(const Run *run, const Scan &x, const OpCall *call) {
    float *const dB = gradient_of(call, SCAN_B), *const dC = gradient_of(call, SCAN_C);
    const bool add_B = call->accumulate[SCAN_B], add_C = call->accumulate[SCAN_C];
    const int64_t N = x.plan.N, groups = x.groups, blocks = x.blocks;
    const int64_t row = groups * 2 * GROUP, size = x.plan.B * x.plan.L * row;
    const float *const part = x.part_BC;
    if (!dB && !dC) return;
    const Divisor of_row = divide_by(row);
    for_each(run, size, [=] __device__(int64_t i) {
        const int64_t token = of_row.of(i), place = i - token * row;
        const int64_t n = place / (2 * GROUP) * GROUP + place % GROUP;
        const bool of_C = place / GROUP % 2;
        float *const to = of_C ? dC : dB;
        if (n >= N || !to) return;
        float sum = 0;
#pragma unroll 8
        for (int64_t block = 0; block < blocks; block++) sum += part[block * size + i];
        put(to + token * N + n, sum, of_C ? add_C : add_B);
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
        launch_named("selective_scan backward segments", run,
                     kernel_for(x, scan_adjoint_ends<true, true>, scan_adjoint_ends<true, false>,
                                scan_adjoint_ends<false, false>),
                     grid_of(x), threads, shared_bytes(x, 2, SCAN_PLACES) + gate_bytes(x), x);
        join_segments(run, x, dnext, true);
        x.entry = x.ends;
    }
    launch_named("selective_scan backward", run,
                 kernel_for(x, scan_backward<true, true>, scan_backward<true, false>,
                            scan_backward<false, false>),
                 grid_of(x), threads,
                 shared_bytes(x, 3, BACKWARD_PLACES) + gate_bytes(x) + part_bytes(x), x);
    sum_blocks(run, x, call);
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
