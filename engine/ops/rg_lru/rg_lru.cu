/* Chunks of ROWS tokens at the same time, a thread for each channel of each: what a chunk does to a
 * state (its decay and its end from zero), a pass over the chunks that makes of it the states
 * before them, then the results. Backward likewise with the adjoint, from the other end.
 * Neighbouring threads are neighbouring channels. Bound by special functions and, where rows are
 * read again from the second-level cache, by memory: 6 of them and 16 bytes a token and channel
 * forward, 7 and 32 backward, a third more of either for the pass that finds the ends. */
#include "engine/ops/rg_lru/rg_lru.h"

#include "engine/cuda/activation.cuh"
#include "engine/cuda/chunks.cuh"
#include "engine/cuda/columns.cuh"
#include "engine/ops/rg_lru/rg_lru_plan.h"

constexpr int ROWS = 16;

/* x -> decay x + end. */
struct Link {
    float decay, end;
};

struct Lru {
    int64_t E;
    Chunks<ROWS> chunks;
    const float *x, *recurrence, *input, *recurrence_bias, *input_bias, *lambda, *start;
    const int32_t *position;
    float *h;
    const float *dh;
    Link *links; /* (B, chunks, E); after the pass, end is what flows into the chunk */
};

static Lru lru_of(const OpCall *call) {
    const Tensor *x = call->in[RG_LRU_X], *position = input_of(call, RG_LRU_POSITION);
    Lru s = {};
    s.E = extent(x, 2);
    s.chunks = chunks_of<ROWS>(x);
    s.x = x->data;
    s.recurrence = call->in[RG_LRU_RECURRENCE]->data;
    s.input = call->in[RG_LRU_INPUT]->data;
    s.recurrence_bias = call->in[RG_LRU_RECURRENCE_BIAS]->data;
    s.input_bias = call->in[RG_LRU_INPUT_BIAS]->data;
    s.lambda = call->in[RG_LRU_LAMBDA]->data;
    s.start = data_of(call, RG_LRU_STATE);
    s.position = position ? position->integers : NULL;
    s.h = call->out[0]->data;
    s.dh = call->out[0]->gradient;
    s.links = static_cast<Link *>(call->scratch);
    return s;
}
struct Place : ChunkPlace {
    float rate, recurrence_bias, input_bias; /* rate: log a / r */
};
__device__ static inline Place place_of(const Lru &s, int64_t n) {
    Place at = {s.chunks.place(n), 0, 0, 0};
    at.rate = RG_LRU_RATE * softplus_of(s.lambda[at.d]);
    at.recurrence_bias = s.recurrence_bias[at.d];
    at.input_bias = s.input_bias[at.d];
    return at;
}

/* A token's decay. less: a - 1, rest: 1 - a^2 without cancellation. */
struct Decay {
    float r, a, rest;
};
__device__ static inline Decay decay_of(const Lru &s, const Place &at, int64_t n) {
    const float r = sigmoid_fast(s.recurrence[n] + at.recurrence_bias);
    const float less = expm1f(r * at.rate);
    return {r, less + 1, -less * (less + 2)};
}
__device__ static inline float input_gate(const Lru &s, const Place &at, int64_t n) {
    return sigmoid_fast(s.input[n] + at.input_bias);
}
/* Whether token t of a chunk is its sequence's first. */
__device__ static inline bool starts(const Lru &s, const Place &at, int t) {
    return t == 0 && at.chunk == 0 && rg_lru_begins(s.position);
}

__device__ static inline float advance(const Lru &s, const Place &at, int t, int64_t n, float h,
                                       float *decay) {
    const Decay d = decay_of(s, at, n);
    const float u = input_gate(s, at, n) * s.x[n];
    *decay *= d.a;
    return starts(s, at, t) ? u : d.a * h + sqrtf(d.rest) * u;
}

/* From what chunks do to what flows into each. */
static void join_chunks(const Run *run, const Lru &s, const float *start, bool backwards) {
    for_each(run, s.chunks.B * s.E, [=] __device__(int64_t n) {
        const int64_t b = n / s.E, e = n % s.E;
        float flow = start ? start[n] : 0;
        for (int64_t step = 0; step < s.chunks.count; step++) {
            const int64_t chunk = backwards ? s.chunks.count - 1 - step : step;
            Link *const at = s.links + (b * s.chunks.count + chunk) * s.E + e;
            const Link own = *at;
            at->end = flow;
            flow = own.decay * flow + own.end;
        }
    });
}

static void forward(const OpCall *call, const Run *run) {
    const Lru s = lru_of(call);
    if (s.chunks.count > 1) {
        for_each(run, s.chunks.places(), [=] __device__(int64_t n) {
            const Place at = place_of(s, n);
            Link own = {1, 0};
            for (int t = 0; t < at.rows; t++)
                own.end = advance(s, at, t, at.first + t * s.E, own.end, &own.decay);
            s.links[n] = own;
        });
        join_chunks(run, s, s.start, false);
    }
    for_each(run, s.chunks.places(), [=] __device__(int64_t n) {
        const Place at = place_of(s, n);
        float h = s.chunks.count > 1 ? s.links[n].end : s.start ? s.start[n] : 0, decay = 1;
        for (int t = 0; t < at.rows; t++) {
            const int64_t i = at.first + t * s.E;
            h = advance(s, at, t, i, h, &decay);
            s.h[i] = h;
        }
    });
}

struct Gradients {
    float *dx, *dr, *di, *sums; /* sums: (RG_LRU_SUMS, B chunks, E) */
    bool add_x, add_r, add_i;
};

/* What flows out of a chunk towards earlier tokens: a (dh + what flows in) at its first token. */
static void adjoint_ends(const Run *run, const Lru &s) {
    for_each(run, s.chunks.places(), [=] __device__(int64_t n) {
        const Place at = place_of(s, n);
        Link own = {1, 0};
        for (int t = at.rows - 1; t >= 0; t--) {
            const int64_t i = at.first + t * s.E;
            const float a = decay_of(s, at, i).a;
            own.end = a * (s.dh[i] + own.end);
            own.decay *= a;
        }
        s.links[n] = own;
    });
    join_chunks(run, s, NULL, true);
}

static void adjoint(const Run *run, const Lru &s, const Gradients &to) {
    const int64_t all = s.chunks.places();
    for_each(run, s.chunks.places(), [=] __device__(int64_t n) {
        const Place at = place_of(s, n);
        float carried = s.chunks.count > 1 ? s.links[n].end : 0, sums[RG_LRU_SUMS] = {};
        for (int t = at.rows - 1; t >= 0; t--) {
            const int64_t k = at.first + t * s.E;
            const bool first = starts(s, at, t);
            const Decay d = decay_of(s, at, k);
            const float root = sqrtf(d.rest), i = input_gate(s, at, k), x = s.x[k];
            const float dh = s.dh[k] + carried, du = first ? dh : dh * root;
            const float di = du * x * (i - i * i);
            /* 2 d root / d (1 - a^2), at most 2 RG_LRU_STEEPEST */
            const float slope = 1 / fmaxf(root, 0.5f / RG_LRU_STEEPEST);
            const float before = first ? 0 : s.h[k - s.E];
            const float dlog = first ? 0 : dh * d.a * (before - i * x * d.a * slope);
            const float dr = dlog * at.rate * (d.r - d.r * d.r);
            if (to.dx) put(to.dx + k, du * i, to.add_x);
            if (to.dr) put(to.dr + k, dr, to.add_r);
            if (to.di) put(to.di + k, di, to.add_i);
            sums[RG_LRU_SUM_LAMBDA] += dlog * d.r;
            sums[RG_LRU_SUM_RECURRENCE] += dr;
            sums[RG_LRU_SUM_INPUT] += di;
            carried = d.a * dh;
        }
        /* d log a / d lambda / r */
        sums[RG_LRU_SUM_LAMBDA] *= RG_LRU_RATE * sigmoid_of(s.lambda[at.d]);
        for (int part = 0; part < RG_LRU_SUMS; part++) to.sums[part * all + n] = sums[part];
    });
}

static void deliver_sums(const OpCall *call, const Run *run, const Lru &s, int input,
                         const float *sums) {
    if (float *to = gradient_of(call, input))
        add_slices(run, sums, s.E, s.chunks.B * s.chunks.count, to, call->accumulate[input]);
}

static void backward(const OpCall *call, const Run *run) {
    Lru s = lru_of(call);
    Carver carver = {static_cast<unsigned char *>(call->scratch)};
    s.links = carver.take<Link>(s.chunks.places());
    const Gradients to = {
        gradient_of(call, RG_LRU_X),     gradient_of(call, RG_LRU_RECURRENCE),
        gradient_of(call, RG_LRU_INPUT), carver.take<float>(RG_LRU_SUMS * s.chunks.places()),
        call->accumulate[RG_LRU_X],      call->accumulate[RG_LRU_RECURRENCE],
        call->accumulate[RG_LRU_INPUT]};
    if (s.chunks.count > 1) adjoint_ends(run, s);
    adjoint(run, s, to);
    deliver_sums(call, run, s, RG_LRU_LAMBDA, to.sums + RG_LRU_SUM_LAMBDA * s.chunks.places());
    deliver_sums(call, run, s, RG_LRU_RECURRENCE_BIAS,
                 to.sums + RG_LRU_SUM_RECURRENCE * s.chunks.places());
    deliver_sums(call, run, s, RG_LRU_INPUT_BIAS, to.sums + RG_LRU_SUM_INPUT * s.chunks.places());
}

static size_t scratch(const OpCall *call, Phase phase) {
    const Tensor *x = call->in[RG_LRU_X];
    const int64_t n = chunks_of<ROWS>(x).places();
    const size_t links = carved(n, sizeof(Link));
    return phase == PHASE_FORWARD ? links : links + carved(RG_LRU_SUMS * n, sizeof(float));
}

CUDA_OP(rg_lru, {forward, backward}, scratch);
