/* Chunks of WKV_ROWS tokens at the same time, a thread for each channel of each: what a chunk does
 * to an empty state, a pass over the chunks that makes of it the states before them, then the
 * results. Backward likewise, with the gradients of P and Q. Numbers as e^o multiples (wkv.h) join
 * in any order. Bound by memory where rows are read again from the second-level cache: 12 bytes an
 * element forward and 24 backward; 3 and 8 exponentials. */
#include "engine/ops/wkv/wkv.h"

#include "engine/cuda/activation.cuh"
#include "engine/cuda/chunks.cuh"
#include "engine/cuda/columns.cuh"
#include "engine/ops/wkv/wkv_plan.h"

constexpr int THREADS = 128;

/* p e^o and q e^o. */
struct Pair {
    float p, q, o;

    /* Adds (p, q) e^exponent. */
    __device__ void add(float exponent, float more_p, float more_q) {
        const float apart = o - exponent, small = fast_exp2(-fabsf(apart) * LOG2_E);
        const float old = apart >= 0 ? 1.0f : small, now = apart >= 0 ? small : 1.0f;
        p = old * p + now * more_p;
        q = old * q + now * more_q;
        o = fmaxf(o, exponent);
    }
};
__device__ static inline Pair empty_pair() {
    return {0, 0, WKV_EMPTY};
}
/* Parts (3, D), a channel of it. */
__device__ static inline Pair load_pair(const float *from, int64_t D) {
    return {from[WKV_P * D], from[WKV_Q * D], from[WKV_O * D]};
}
__device__ static inline void store_pair(float *to, int64_t D, const Pair &pair) {
    to[WKV_P * D] = pair.p;
    to[WKV_Q * D] = pair.q;
    to[WKV_O * D] = pair.o;
}
/* The state that a call begins with. */
__device__ static inline Pair first_pair(const float *start, int64_t D) {
    const Pair pair = start ? load_pair(start, D) : empty_pair();
    return pair.q > 0 ? pair : empty_pair();
}

struct Wkv {
    WkvPlan plan;
    Chunks<WKV_ROWS> chunks;
    const float *k, *v, *decay, *u, *start; /* start: (B, 3, D) or NULL */
    const float *out, *dy;
    float *states;  /* (B, chunks, 3, D): before each chunk */
    float *adjoint; /* the same, of what stands behind each chunk */
};

struct Place : ChunkPlace {
    int64_t state, start; /* where its parts begin in states, and in start */
    float w, u;
};
__device__ static inline Place place_of(const Wkv &x, int64_t n) {
    Place at = {x.chunks.place(n), 0, 0, 0, 0};
    at.state = at.row * WKV_PARTS * x.plan.D + at.d;
    at.start = at.b * WKV_PARTS * x.plan.D + at.d;
    at.w = -expf(x.decay[at.d]);
    at.u = x.u[at.d];
    return at;
}

static Wkv wkv_of(const OpCall *call) {
    Wkv x = {};
    x.plan = wkv_plan(call);
    x.chunks = chunks_of<WKV_ROWS>(call->in[WKV_K]);
    x.k = call->in[WKV_K]->data;
    x.v = call->in[WKV_V]->data;
    x.decay = call->in[WKV_DECAY]->data;
    x.u = call->in[WKV_U]->data;
    x.start = data_of(call, WKV_STATE);
    x.out = call->out[0]->data;
    x.dy = call->out[0]->gradient;
    x.states = call->saves ? call->saved[0]->data : NULL;
    return x;
}
/* From what chunks do alone to what flows into each, in place. */
static void join_chunks(const Run *run, const Wkv &x, float *pairs, bool backwards) {
    const WkvPlan plan = x.plan;
    const float *const decay = x.decay, *const start = backwards ? NULL : x.start;
    for_each(run, plan.B * plan.D, [=] __device__(int64_t n) {
        const int64_t b = n / plan.D, d = n % plan.D, D = plan.D;
        const float w = -expf(decay[d]);
        Pair flow = first_pair(start ? start + b * WKV_PARTS * D + d : NULL, D);
        for (int64_t step = 0; step < plan.chunks; step++) {
            const int64_t chunk = backwards ? plan.chunks - 1 - step : step;
            const int64_t left = plan.L - chunk * WKV_ROWS;
            float *const at = pairs + (b * plan.chunks + chunk) * WKV_PARTS * D + d;
            const Pair own = load_pair(at, D);
            store_pair(at, D, flow);
            flow.o += w * (float)(left < WKV_ROWS ? left : (int64_t)WKV_ROWS);
            flow.add(own.o, own.p, own.q);
        }
    });
}

static void forward(const OpCall *call, const Run *run) {
    Wkv x = wkv_of(call);
    const int64_t D = x.plan.D;
    float *const out = call->out[0]->data, *const next = x.start ? call->out[1]->data : NULL;
    if (!x.states && x.plan.chunks > 1) x.states = static_cast<float *>(call->scratch);
    if (x.plan.chunks > 1) {
        for_each(run, x.chunks.places(), [=] __device__(int64_t n) {
            const Place at = place_of(x, n);
            Pair state = empty_pair();
            for (int64_t t = 0, i = at.first; t < at.rows; t++, i += D) {
                state.o += at.w;
                state.add(x.k[i], x.v[i], 1);
            }
            store_pair(x.states + at.state, D, state);
        });
        join_chunks(run, x, x.states, false);
    }
    for_each(run, x.chunks.places(), [=] __device__(int64_t n) {
        const Place at = place_of(x, n);
        Pair state = x.plan.chunks > 1 ? load_pair(x.states + at.state, D)
                                       : first_pair(x.start ? x.start + at.start : NULL, D);
        if (x.states && x.plan.chunks == 1) store_pair(x.states + at.state, D, state);
        for (int64_t t = 0, i = at.first; t < at.rows; t++, i += D) {
            const float k = x.k[i], v = x.v[i];
            Pair seen = state;
            seen.add(at.u + k, v, 1);
            out[i] = seen.p / seen.q;
            state.o += at.w;
            state.add(k, v, 1);
        }
        if (next && at.chunk == x.plan.chunks - 1) store_pair(next + at.start, D, state);
    });
}

/* The gradients of P and Q before a chunk, from its own results: e^(t w) dy_t / dP_t, summed. */
static void adjoint_ends(const Run *run, const Wkv &x) {
    const int64_t D = x.plan.D;
    for_each(run, x.chunks.places(), [=] __device__(int64_t n) {
        const Place at = place_of(x, n);
        Pair state = load_pair(x.states + at.state, D), sum = empty_pair();
        for (int64_t t = 0, i = at.first; t < at.rows; t++, i += D) {
            const float k = x.k[i], v = x.v[i];
            Pair seen = state;
            seen.add(at.u + k, v, 1);
            const float g = x.dy[i] / seen.q;
            sum.add((float)t * at.w - seen.o, g, -g * x.out[i]);
            state.o += at.w;
            state.add(k, v, 1);
        }
        store_pair(x.adjoint + at.state, D, sum);
    });
}

/* Results of backward. */
struct Gradients {
    float *dk, *dv, *sums; /* sums: (2, B chunks, D) of decay and u */
    bool add_k, add_v;
};

KERNEL void __launch_bounds__(THREADS)
    chunk_backward(const Wkv x, const Gradients to, int64_t all) {
    const int64_t n = global_thread(), D = x.plan.D;
    if (n >= all) return;
    const Place at = place_of(x, n);
    Pair before[WKV_ROWS], state = load_pair(x.states + at.state, D);
    float largest[WKV_ROWS], inverse[WKV_ROWS];
#pragma unroll
    for (int t = 0; t < WKV_ROWS; t++) {
        if (t >= at.rows) continue;
        const float k = x.k[at.first + t * D], v = x.v[at.first + t * D];
        before[t] = state;
        Pair seen = state;
        seen.add(at.u + k, v, 1);
        largest[t] = seen.o;
        inverse[t] = 1 / seen.q;
        state.o += at.w;
        state.add(k, v, 1);
    }
    Pair g = load_pair(x.adjoint + at.state, D);
    float dw = 0, du = 0;
#pragma unroll
    for (int t = WKV_ROWS - 1; t >= 0; t--) {
        if (t >= at.rows) continue;
        const int64_t i = at.first + t * D;
        const float k = x.k[i], v = x.v[i], y = x.out[i], slope = x.dy[i] * inverse[t];
        const float own = slope * fast_exp2(fminf(0, at.u + k - largest[t]) * LOG2_E);
        const float later = fast_exp2(fminf(0, k + g.o) * LOG2_E);
        const float decayed = fast_exp2(fminf(0, at.w + before[t].o + g.o) * LOG2_E);
        if (to.dk) put(to.dk + i, own * (v - y) + later * (g.p * v + g.q), to.add_k);
        if (to.dv) put(to.dv + i, own + later * g.p, to.add_v);
        du += own * (v - y);
        dw += decayed * (g.p * before[t].p + g.q * before[t].q);
        g.o += at.w;
        g.add(-largest[t], slope, -slope * y);
    }
    const int64_t row = at.b * x.plan.chunks + at.chunk, rows = x.plan.B * x.plan.chunks;
    to.sums[row * D + at.d] = dw * at.w; /* dw / ddecay = w */
    to.sums[(rows + row) * D + at.d] = du;
}

static void backward(const OpCall *call, const Run *run) {
    Wkv x = wkv_of(call);
    const int64_t rows = x.plan.B * x.plan.chunks, D = x.plan.D;
    Carver carver = {static_cast<unsigned char *>(call->scratch)};
    x.adjoint = carver.take<float>(rows * WKV_PARTS * D);
    float *const sums = carver.take<float>(2 * rows * D);
    adjoint_ends(run, x);
    join_chunks(run, x, x.adjoint, true);
    const Gradients to = {gradient_of(call, WKV_K), gradient_of(call, WKV_V), sums,
                          call->accumulate[WKV_K], call->accumulate[WKV_V]};
    LAUNCH(run, chunk_backward, blocks_for(x.chunks.places(), THREADS), THREADS, 0, x, to,
           x.chunks.places());
    if (float *decay = gradient_of(call, WKV_DECAY))
        add_slices(run, (const float *)sums, D, rows, decay, call->accumulate[WKV_DECAY]);
    if (float *u = gradient_of(call, WKV_U))
        add_slices(run, (const float *)(sums + rows * D), D, rows, u, call->accumulate[WKV_U]);
}

static size_t scratch(const OpCall *call, Phase phase) {
    const WkvPlan plan = wkv_plan(call);
    const int64_t rows = plan.B * plan.chunks;
    const size_t states = carved(rows * WKV_PARTS * plan.D, sizeof(float));
    return phase == PHASE_FORWARD ? states : states + carved(2 * rows * plan.D, sizeof(float));
}

CUDA_OP(wkv, {forward, backward}, scratch);
