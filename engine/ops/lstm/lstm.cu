/* A block for each sequence keeps the state through all steps, so nothing waits between blocks.
 *
 * Up to 128 units the recurrent weights stay in the block too, in registers and, where those do not
 * hold all, shared memory. Forward, a quad of lanes has the four gates of one unit, each lane a
 * quarter of the state: H / 32 cycles a unit and step for the products, 512 at H = 128, then one
 * exchange in the quad and one barrier. Backward, sixteen lanes have four units, each
 * lane a sixteenth of the gates.
 *
 * Up to 256 units four blocks of a cluster do the same, where the GPU has clusters; they send each
 * other their part of the state and meet at every step. Wider ones are shared out over the whole
 * grid (lstm_resident.cu); those that this does not take need a product of the whole batch and a
 * pass over the units for each step. */
#include "engine/ops/lstm/lstm.h"

#include "engine/cuda/product.h"
#include "engine/cuda/quad.cuh"
#include "engine/ops/lstm/lstm_steps.cuh"

enum { KEPT_ANYWHERE = 128 /* units */ };

/* A lane's share of the recurrent weights: four for each of SHARE terms, the first KEPT of them in
 * registers and the others in shared memory, [term][thread]. */
template <int SHARE> struct Weights {
    static constexpr int KEPT = SHARE < 21 ? SHARE : 21, THREADS = 16 * SHARE; /* of the block */
    float4 kept[KEPT];
    float4 *others;
    template <class Read> __device__ void load(float4 *space, const Read &read) {
        others = space + threadIdx.x;
#pragma unroll
        for (int i = 0; i < SHARE; i++) {
            if (i < KEPT)
                kept[i < KEPT ? i : 0] = read(i);
            else
                others[(i - KEPT) * THREADS] = read(i);
        }
    }
    /* sum[0 .. 3] += weights times the terms that lie in x, four side by side, so far apart. */
    __device__ void multiply(const float *x, int apart, float sum[4]) const {
#pragma unroll
        for (int i = 0; i < SHARE; i += 4) {
            const float4 four = *reinterpret_cast<const float4 *>(x + i / 4 * apart);
            const float term[4] = {four.x, four.y, four.z, four.w};
#pragma unroll
            for (int j = 0; j < 4; j++) {
                const int at = i + j;
                const float4 w =
                    at < KEPT ? kept[at < KEPT ? at : 0] : others[(at - KEPT) * THREADS];
                sum[0] += w.x * term[j];
                sum[1] += w.y * term[j];
                sum[2] += w.z * term[j];
                sum[3] += w.w * term[j];
            }
        }
    }
    static size_t shared_bytes() {
        return (size_t)(SHARE - KEPT) * THREADS * sizeof(float4);
    }
};

/* How SPAN^2 blocks share 4 SHARE SPAN units; all are of one cluster. */
template <int SHARE, int SPAN> struct Span {
    static constexpr int BLOCKS = SPAN * SPAN, UNITS = 4 * SHARE * SPAN, OWN = UNITS / BLOCKS;
    static constexpr unsigned THREADS = 16 * SHARE;
    static __device__ void sync() {
        if constexpr (SPAN > 1)
            cluster_sync();
        else
            __syncthreads();
    }
    static __device__ int64_t first_unit() {
        if constexpr (SPAN > 1)
            return cluster_rank() * OWN;
        else
            return 0;
    }
    /* Of one lane for block `rank`. */
    static __device__ void send(float *to, unsigned rank, float value) {
        if constexpr (SPAN > 1) to = in_block(to, rank);
        *to = value;
    }
};

/* 4 SPAN lanes a unit: each ends with the sum of gate lane % 4. */
template <int SHARE, int SPAN> KERNEL void __launch_bounds__(16 * SHARE, 1) kept_steps(Cells x) {
    using Of = Span<SHARE, SPAN>;
    const int64_t b = blockIdx.x / Of::BLOCKS;
    const int H = (int)x.H, L = (int)x.L;
    const unsigned lane = threadIdx.x % WARP, part = lane % (4 * SPAN), gate = lane % QUAD;
    const unsigned quad = lane - gate;
    const int u = (int)Of::first_unit() + (int)threadIdx.x / (4 * SPAN);
    const bool exists = u < H;
    float *const state = shared_memory<float>(); /* of the step before and of this one */
    Weights<SHARE> weights;
    weights.load(reinterpret_cast<float4 *>(state + 2 * Of::UNITS), [&](int i) {
        const int k = i / 4 * 16 * SPAN + (int)part * 4 + i % 4;
        if (!exists || k >= H) return make_float4(0, 0, 0, 0);
        const float *const w = x.w + (int64_t)k * 4 * H + u;
        return make_float4(w[0], w[H], w[2 * H], w[3 * H]);
    });
    for (int k = threadIdx.x; k < Of::UNITS; k += blockDim.x)
        state[k] = k < H && x.h0 ? x.h0[b * H + k] : 0;
    float c = exists && x.c0 ? x.c0[b * H + u] : 0, h = 0;
    int64_t at = b * L * 4 * H + gate * H + u; /* in (B, L, 4H) */
    float next = exists ? x.gates[at] : 0;
    const bool keeps = exists && part < QUAD && x.activated;
    const bool writes = exists && (part == 0 || (part == 1 && x.c)); /* h or c */
    float *to = (part == 0 ? x.h : x.c) + (b * L * H + u);
    Of::sync();
    for (int t = 0; t < L; t++, at += 4 * H) {
        const float input = next;
        if (exists && t + 1 < L) next = x.gates[at + 4 * H];
        float sums[4] = {};
        weights.multiply(state + t % 2 * Of::UNITS + part * 4, 16 * SPAN, sums);
        float sum = quad_share(sums, gate);
        if constexpr (SPAN > 1) sum += across(sum, 4);
        const float G = activated_gate(gate, sum + input);
        const float i = from_lane(G, quad), f = from_lane(G, quad + 1);
        const float g = from_lane(G, quad + 2), o = from_lane(G, quad + 3);
        c = f * c + i * g;
        h = o * tanh_fast(c);
        if (part < Of::BLOCKS) Of::send(state + (t + 1) % 2 * Of::UNITS + u, part, h);
        Of::sync();
        if (keeps) x.activated[at] = G;
        if (writes) *to = part == 0 ? h : c;
        to += H;
    }
    if (!exists || part != 0 || !x.h_last) return;
    x.h_last[b * H + u] = h;
    x.c_last[b * H + u] = c;
}

/* 16 SPAN lanes for four units: a lane ends with the gradient that flows into one unit's state and
 * makes one of that unit's gate gradients of it. */
template <int SHARE, int SPAN>
KERNEL void __launch_bounds__(16 * SHARE, 1) kept_adjoint_steps(Adjoint x) {
    using Of = Span<SHARE, SPAN>;
    const int64_t b = blockIdx.x / Of::BLOCKS;
    const int H = (int)x.H;
    const unsigned lane = threadIdx.x % WARP, place = lane % (16 * SPAN), first = lane / 16 * 16;
    const unsigned own = place % 4, gate = place / 4 % 4, copy = place / 16;
    const int units = (int)Of::first_unit() + (int)threadIdx.x / (16 * SPAN) * 4;
    const int u = units + (int)own;
    const bool exists = u < H;
    float *const gradients = shared_memory<float>(); /* (4, UNITS), of two steps */
    Weights<SHARE> weights;
    weights.load(reinterpret_cast<float4 *>(gradients + 2 * 4 * Of::UNITS), [&](int i) {
        const int n = i / 4 * 64 * SPAN + (int)place * 4 + i % 4, from = n % Of::UNITS;
        const float *const w = x.w + n / Of::UNITS * H + from;
        const int64_t row = 4 * H;
        if (from >= H) return make_float4(0, 0, 0, 0);
        return make_float4(units < H ? w[units * row] : 0, units + 1 < H ? w[(units + 1) * row] : 0,
                           units + 2 < H ? w[(units + 2) * row] : 0,
                           units + 3 < H ? w[(units + 3) * row] : 0);
    });
    float dh = exists && x.dh_last ? x.dh_last[b * H + u] : 0;
    float dc = exists && x.dc_last ? x.dc_last[b * H + u] : 0;
    const int64_t row = (b + 1) * x.L - 1;
    int64_t at = row * H + u, at_gate = row * 4 * H + gate * H + u; /* of this step */
    float next_G = exists ? x.activated[at_gate] : 0, next_dy = exists ? x.dh[at] : 0;
    float next_c = exists ? x.c[at] : 0;
    if constexpr (SPAN > 1) Of::sync(); /* all blocks have begun */
    for (int t = (int)x.L - 1; t >= 0; t--, at -= H, at_gate -= 4 * H) {
        const float G = next_G, dy = next_dy, now = next_c;
        next_c = 0;
        if (exists && t > 0) {
            next_G = x.activated[at_gate - 4 * H];
            next_dy = x.dh[at - H];
            next_c = x.c[at - H];
        } else if (exists && x.c0) {
            next_c = x.c0[b * H + u];
        }
        const float i = from_lane(G, first + own), f = from_lane(G, first + own + 4);
        const float g = from_lane(G, first + own + 8), o = from_lane(G, first + own + 12);
        const float bent = tanh_fast(now), to_h = dh + dy;
        const float to_c = dc + to_h * (o * (1 - bent * bent));
        const float factor = gate == 0 ? g : gate == 1 ? next_c : gate == 2 ? i : bent;
        const float d = (gate == 3 ? to_h : to_c) * (factor * gate_slope(gate, G));
        dc = to_c * f;
        float *const buffer = gradients + t % 2 * 4 * Of::UNITS;
#pragma unroll
        for (int k = 0; k < SPAN; k++) /* SPAN copies of this lane, SPAN blocks each */
            Of::send(buffer + gate * Of::UNITS + u, copy * SPAN + k, d);
        Of::sync();
        if (exists && copy == 0) x.d_gates[at_gate] = d;
        float sums[4] = {};
        weights.multiply(buffer + place * 4, 64 * SPAN, sums);
        dh = quad_share(sums, own);
        dh += across(dh, 4);
        dh += across(dh, 8);
        if constexpr (SPAN > 1) dh += across(dh, 16);
    }
    if (!exists || gate != 0 || copy != 0) return;
    if (x.dh0) put(x.dh0 + b * H + u, dh, x.add_h0);
    if (x.dc0) put(x.dc0 + b * H + u, dc, x.add_c0);
}

/* Launches the kernels that keep their weights; false where they do not fit. */
template <int SHARE, int SPAN> static void launch_kept(const Run *run, int64_t B, const Cells &x) {
    using Of = Span<SHARE, SPAN>;
    LAUNCH_CLUSTER(run, (kept_steps<SHARE, SPAN>), Of::BLOCKS, (unsigned)B * Of::BLOCKS,
                   Of::THREADS, 2 * Of::UNITS * sizeof(float) + Weights<SHARE>::shared_bytes(), x);
}
template <int SHARE, int SPAN>
static void launch_kept(const Run *run, int64_t B, const Adjoint &x) {
    using Of = Span<SHARE, SPAN>;
    LAUNCH_CLUSTER(run, (kept_adjoint_steps<SHARE, SPAN>), Of::BLOCKS, (unsigned)B * Of::BLOCKS,
                   Of::THREADS, 8 * Of::UNITS * sizeof(float) + Weights<SHARE>::shared_bytes(), x);
}
static bool keeps_weights(const Run *run, int64_t H) {
    return H <= (most_cluster(run) >= 4 ? 256 : 128);
}
template <class Steps> static bool kept(const Run *run, int64_t B, const Steps &x) {
    if (!keeps_weights(run, x.H)) return false;
    if (x.H <= 32)
        launch_kept<8, 1>(run, B, x);
    else if (x.H <= 64)
        launch_kept<16, 1>(run, B, x);
    else if (x.H <= 128)
        launch_kept<32, 1>(run, B, x);
    else
        launch_kept<32, 2>(run, B, x);
    return true;
}

/* Forward, step by step: sums (B, 4H) of the recurrent product and the state c (B, H). */
static void wide_steps(const Run *run, int64_t B, const Cells &x, float *sums, float *c) {
    const int64_t L = x.L, H = x.H;
    const Divisor units = divide_by(H);
    Product p = {}; /* h of the step before, W */
    p.m = B;
    p.k = H;
    p.n = p.ldb = p.ldc = 4 * H;
    p.b = x.w;
    p.c = sums;
    for (int64_t t = 0; t < L; t++) {
        const bool first = t == 0, recurs = !first || x.h0;
        p.a = first ? x.h0 : x.h + (t - 1) * H;
        p.lda = first ? H : L * H;
        if (recurs) product(run, p);
        for_each(run, B * H, [=] __device__(int64_t at) {
            const int64_t b = units.of(at), u = at - b * H, row = b * L + t;
            float G[4];
            for (int gate = 0; gate < 4; gate++) {
                const float recurrent = recurs ? sums[b * 4 * H + gate * H + u] : 0.0f;
                const int64_t place = row * 4 * H + gate * H + u;
                G[gate] = activated_gate(gate, recurrent + x.gates[place]);
                if (x.activated) x.activated[place] = G[gate];
            }
            const float before = !first ? c[at] : x.c0 ? x.c0[at] : 0.0f;
            const float now = G[1] * before + G[0] * G[2], h = G[3] * tanh_fast(now);
            c[at] = now;
            x.h[row * H + u] = h;
            if (x.c) x.c[row * H + u] = now;
            if (!x.h_last || t + 1 < L) return;
            x.h_last[at] = h;
            x.c_last[at] = now;
        });
    }
}

/* Backward, step by step, with the cotangents of both states, dh and dc (B, H). */
static void wide_adjoint_steps(const Run *run, int64_t B, const Adjoint &x, float *dh, float *dc) {
    const int64_t L = x.L, H = x.H;
    const Divisor units = divide_by(H);
    Product p = {}; /* gate gradients, W^T */
    p.transposed_b = true;
    p.m = B;
    p.k = p.ldb = 4 * H;
    p.n = p.ldc = H;
    p.lda = L * 4 * H;
    p.b = x.w;
    p.c = dh;
    for (int64_t t = L - 1; t >= 0; t--) {
        const bool last = t + 1 == L;
        for_each(run, B * H, [=] __device__(int64_t at) {
            const int64_t b = units.of(at), u = at - b * H, row = b * L + t;
            const float *G = x.activated + row * 4 * H + u;
            float *const d = x.d_gates + row * 4 * H + u;
            const float i = G[0], f = G[H], g = G[2 * H], o = G[3 * H];
            const float before = t > 0 ? x.c[(row - 1) * H + u] : x.c0 ? x.c0[at] : 0.0f;
            const float bent = tanh_fast(x.c[row * H + u]);
            const float later_h = !last ? dh[at] : x.dh_last ? x.dh_last[at] : 0.0f;
            const float later_c = !last ? dc[at] : x.dc_last ? x.dc_last[at] : 0.0f;
            const float to_h = later_h + x.dh[row * H + u];
            const float to_c = later_c + to_h * o * (1 - bent * bent);
            d[0] = to_c * g * i * (1 - i);
            d[H] = to_c * before * f * (1 - f);
            d[2 * H] = to_c * i * (1 - g * g);
            d[3 * H] = to_h * bent * o * (1 - o);
            dc[at] = to_c * f;
        });
        p.a = x.d_gates + t * 4 * H;
        if (t > 0 || x.dh0) product(run, p);
    }
    for_each(run, B * H, [=] __device__(int64_t at) {
        if (x.dh0) put(x.dh0 + at, dh[at], x.add_h0);
        if (x.dc0) put(x.dc0 + at, dc[at], x.add_c0);
    });
}

static void forward(const OpCall *call, const Run *run) {
    Cells x = {};
    x.L = extent(call->in[LSTM_GATES], 1);
    x.H = extent(call->in[LSTM_W], 0);
    x.gates = call->in[LSTM_GATES]->data;
    x.w = call->in[LSTM_W]->data;
    x.h0 = data_of(call, LSTM_H0);
    x.c0 = data_of(call, LSTM_C0);
    x.h = call->out[LSTM_H]->data;
    x.h_last = call->outputs > 1 ? call->out[LSTM_H_LAST]->data : NULL;
    x.c_last = call->outputs > 1 ? call->out[LSTM_C_LAST]->data : NULL;
    x.activated = call->saves ? call->saved[LSTM_SAVED_GATES]->data : NULL;
    x.c = call->saves ? call->saved[LSTM_SAVED_C]->data : NULL;
    const int64_t B = extent(call->in[LSTM_GATES], 0);
    if (kept(run, B, x)) return;
    Carver carver = {static_cast<unsigned char *>(call->scratch)};
    if (resident_steps(run, B, x, carver.take<unsigned>(RESIDENT_COUNTERS))) return;
    float *const sums = carver.take<float>(B * 4 * x.H);
    wide_steps(run, B, x, sums, carver.take<float>(B * x.H));
}

static void backward(const OpCall *call, const Run *run) {
    const int64_t B = extent(call->in[LSTM_GATES], 0), L = extent(call->in[LSTM_GATES], 1);
    const int64_t H = extent(call->in[LSTM_W], 0), rows = B * L;
    Carver carver = {static_cast<unsigned char *>(call->scratch)};
    float *const to = gradient_of(call, LSTM_GATES);
    const bool add_gates = call->accumulate[LSTM_GATES];
    float *const d_gates = to && !add_gates ? to : carver.take<float>(rows * 4 * H);
    float *const before = carver.take<float>(rows * H); /* h of the step before */
    const float *w = call->in[LSTM_W]->data, *h = call->out[LSTM_H]->data;
    const float *h0 = data_of(call, LSTM_H0);
    Adjoint x = {};
    x.L = L;
    x.H = H;
    x.activated = call->saved[LSTM_SAVED_GATES]->data;
    x.c = call->saved[LSTM_SAVED_C]->data;
    x.c0 = data_of(call, LSTM_C0);
    x.dh = call->out[LSTM_H]->gradient;
    x.dh_last = call->outputs > 1 ? call->out[LSTM_H_LAST]->gradient : NULL;
    x.dc_last = call->outputs > 1 ? call->out[LSTM_C_LAST]->gradient : NULL;
    x.w = w;
    x.d_gates = d_gates;
    x.dh0 = gradient_of(call, LSTM_H0);
    x.dc0 = gradient_of(call, LSTM_C0);
    x.add_h0 = call->accumulate[LSTM_H0];
    x.add_c0 = call->accumulate[LSTM_C0];
    if (!kept(run, B, x)) {
        unsigned *const counters = carver.take<unsigned>(RESIDENT_COUNTERS);
        float *const states = carver.take<float>(4 * B * H);
        if (!resident_adjoint_steps(run, B, x, counters, states))
            wide_adjoint_steps(run, B, x, states, states + B * H);
    }
    if (to && add_gates)
        for_each(run, rows * 4 * H, [=] __device__(int64_t i) { to[i] += d_gates[i]; });
    float *const dw = gradient_of(call, LSTM_W);
    if (!dw) return;
    const Divisor units = divide_by(H), steps = divide_by(L);
    for_each(run, rows * H, [=] __device__(int64_t i) {
        const int64_t row = units.of(i), b = steps.of(row);
        before[i] = row > b * L ? h[i - H] : h0 ? h0[b * H + i - row * H] : 0.0f;
    });
    Product p = {}; /* before^T d_gates */
    p.transposed_a = true;
    p.m = H;
    p.n = p.ldb = p.ldc = 4 * H;
    p.k = rows;
    p.a = before;
    p.lda = H;
    p.b = d_gates;
    p.c = dw;
    p.start = call->accumulate[LSTM_W] ? dw : NULL;
    product(run, p);
}

static size_t scratch(const OpCall *call, Phase phase) {
    const int64_t H = extent(call->in[LSTM_W], 0), B = extent(call->in[LSTM_GATES], 0);
    const int64_t rows = B * extent(call->in[LSTM_GATES], 1);
    const size_t state = carved(B * H, sizeof(float));
    const size_t counters = carved(RESIDENT_COUNTERS, sizeof(unsigned));
    const size_t wide = H > KEPT_ANYWHERE ? 5 * state + counters : 0;
    if (phase == PHASE_FORWARD) return wide;
    return wide + carved(rows * 4 * H, sizeof(float)) + carved(rows * H, sizeof(float));
}

CUDA_OP(lstm, {forward, backward}, scratch);
