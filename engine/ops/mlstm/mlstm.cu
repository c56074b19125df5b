/* Forward: the gates by a warp a head, which walks through the chunks; the states; then all chunks
 * at once, a block each. Backward the other way round. */
#include "engine/ops/mlstm/mlstm.cuh"

constexpr int LANE_TOKENS = T / (int)WARP;

/* Of the lane `by` places before this one, or of another where there is none. */
template <class X> __device__ static inline X earlier(X x, unsigned by) {
    return __shfl_sync(0xFFFFFFFFu, x, (threadIdx.x - by) % WARP);
}
/* Inclusive sums and maxima over the lanes. */
__device__ static inline double sum_to_lane(double x) {
    for (unsigned d = 1; d < WARP; d *= 2) {
        const double other = earlier(x, d);
        if (threadIdx.x >= d) x += other;
    }
    return x;
}
__device__ static inline float max_to_lane(float x) {
    for (unsigned d = 1; d < WARP; d *= 2) {
        const float other = earlier(x, d);
        if (threadIdx.x >= d) x = fmaxf(x, other);
    }
    return x;
}

/* The notes s, r, entry, and, where the inverse of the normaliser will be, its floor 2^-m. A lane
 * has LANE_TOKENS neighbouring tokens. */
KERNEL void __launch_bounds__(WARP) open_gates(MlstmCall x) {
    const int64_t unit = blockIdx.x, H = x.plan.H;
    double before = 0; /* m; in double like the sums, for the differences that become weights */
    for (int64_t number = 0; number < x.plan.chunks; number++) {
        const MlstmChunk c(x, unit, number);
        float *const notes = x.notes + (unit * x.plan.chunks + number) * MLSTM_NOTES * T;
        const float *const gates = x.gates + (unit / H * x.plan.L + number * T) * 2 * H + unit % H;
        const int first = (int)threadIdx.x * LANE_TOKENS;
        double b[LANE_TOKENS], own = 0;
        for (int e = 0; e < LANE_TOKENS; e++) {
            const int i = first + e;
            if (i < c.count) own += (double)(-LOG2_E * softplus_of(-gates[i * 2 * H + H]));
            b[e] = own;
        }
        const double sum = sum_to_lane(own);
        float s[LANE_TOKENS], top = (float)before;
        for (int e = 0; e < LANE_TOKENS; e++) {
            const int i = first + e;
            b[e] += sum - own;
            s[e] = i < c.count ? (float)(1.4426950408889634 * (double)gates[i * 2 * H] - b[e])
                               : -INFINITY;
            top = fmaxf(top, s[e]);
        }
        top = max_to_lane(top);
        float r = earlier(top, 1);
        if (threadIdx.x == 0) r = (float)before;
        for (int e = 0; e < LANE_TOKENS; e++) {
            const int i = first + e;
            r = fmaxf(r, s[e]);
            notes[MLSTM_NOTE_S * T + i] = s[e];
            notes[MLSTM_NOTE_R * T + i] = r;
            notes[MLSTM_NOTE_ENTRY * T + i] = fast_exp2((float)before - r);
            notes[MLSTM_NOTE_INVERSE * T + i] = exp2f(-(float)(b[e] + (double)r));
        }
        before = __shfl_sync(0xFFFFFFFFu, sum + (double)top, WARP - 1);
    }
}

/* What the entering state adds to a row's n . q: by a warp for each of its rows. */
__device__ static inline void entering_dots(const MlstmCall &x, const MlstmChunk &c,
                                            const MlstmFactors &f, float *dots) {
    const float *const n = x.states + c.state_before(x.plan) + x.plan.dk * x.plan.dv;
    const int first = (int)(threadIdx.x / WARP * STRIP), lane = (int)(threadIdx.x % WARP);
    for (int i = first; i < first + STRIP; i++) {
        float sum = 0;
        if (i < c.count)
            for (int a = lane; a < x.plan.dk; a += WARP)
                sum += n[a] * x.q[c.first_key + i * c.key_row + a];
        sum = warp_sum(sum);
        if (lane == 0) dots[i] = sum * f.entry[i];
    }
}

/* The normaliser of a row from its n . q, to the notes and the factors. */
__device__ static inline void normalise(float *notes, MlstmFactors &f, int row, float dot) {
    const float size = fabsf(dot), floor = f.inverse[row];
    f.inverse[row] = 1.0f / (fmaxf(size, floor) + MLSTM_EPSILON);
    notes[MLSTM_NOTE_SIGN * T + row] = size < floor ? 0.0f : dot < 0 ? -1.0f : 1.0f;
    notes[MLSTM_NOTE_INVERSE * T + row] = f.inverse[row];
}

template <class M> KERNEL void __launch_bounds__(THREADS) results(MlstmCall x) {
    __shared__ MlstmFactors f;
    __shared__ float dots[T];
    const ChunkSpace<M, 1> space;
    const int64_t unit = blockIdx.x / x.plan.chunks, number = blockIdx.x % x.plan.chunks;
    const MlstmChunk c(x, unit, number);
    const ChunkRows q = keys_of(x, c, x.q), k = keys_of(x, c, x.k), v = values_of(x, c, x.v);
    f.load(x, c);
    Sums weights = {};
    add_product<M, false, false>(
        weights, space, x.plan.dk, [&](int i, int a) { return q.at(i, a); },
        [&](int j, int a) { return k.at(j, a); });
    if (c.enters) entering_dots(x, c, f, dots);
    RowSums sums = {};
    each_result(weights, [&](int i, int j, float &p) {
        p *= x.plan.scale * f.weight(i, j);
        sums.add(i, p);
    });
    const float dots_here[2] = {quad_sum(sums.of(0)), quad_sum(sums.of(1))};
    store_square<M>(weights, space.square(0));
    __syncthreads();
    if (threadIdx.x % QUAD == 0) {
        float *const notes = x.notes + (unit * x.plan.chunks + number) * MLSTM_NOTES * T;
        for (int r = 0; r < 2; r++) {
            const int row = first_row() + r * 8;
            if (row < c.count)
                normalise(notes, f, row, dots_here[r] + (c.enters ? dots[row] : 0.0f));
        }
    }
    __syncthreads();
    const ChunkRows C = memory_of(x, c.enters ? x.states + c.state_before(x.plan) : NULL);
    for (int c0 = 0; c0 < x.plan.dv; c0 += T) {
        Sums sum = {};
        if (c.enters)
            add_product<M, false, true>(
                sum, space, x.plan.dk, [&](int i, int a) { return f.entry[i] * q.at(i, a); },
                [&](int e, int a) { return C.at(a, c0 + e); });
        add_square<M, true>(sum, space, 0, [&](int e, int j) { return v.at(j, c0 + e); });
        each_result(sum, [&](int i, int e, float value) {
            if (i < c.count && c0 + e < x.plan.dv)
                x.h[c.first_value + i * c.value_row + c0 + e] = value * f.inverse[i];
        });
    }
}

/* Gradient of a token's n . q: through the normaliser, where that is |n . q|. */
static void dot_gradients(const Run *run, const MlstmCall &call) {
    const MlstmCall x = call;
    const int64_t padded = x.plan.chunks * T;
    const Divisor tokens = divide_by(padded);
    for_each(run, x.plan.B * x.plan.H * padded * WARP, [=] __device__(int64_t at) {
        const int64_t i = at / WARP, unit = tokens.of(i), t = i - unit * padded;
        const MlstmChunk c(x, unit, t / T);
        const int own = (int)(t % T);
        float sum = 0;
        if (own < c.count)
            for (int e = (int)(at % WARP); e < x.plan.dv; e += WARP) {
                const int64_t place = c.first_value + own * c.value_row + e;
                sum += x.dh[place] * x.h[place];
            }
        sum = warp_sum(sum);
        if (at % WARP == 0)
            x.to_dot[i] = own < c.count ? -sum * c.note(MLSTM_NOTE_SIGN, own) *
                                              c.note(MLSTM_NOTE_INVERSE, own)
                                        : 0.0f;
    });
}

/* Squares of the backward kernel: dS, and transposed dS and P. */
enum { SCORES, SCORES_TURNED, WEIGHTS_TURNED, SQUARES };

/* A block's chunk in backward. */
template <class M> struct Adjoint {
    const MlstmCall &x;
    ChunkSpace<M, SQUARES> space;
    MlstmChunk c;
    ChunkRows q, k, v, dh, C, dC; /* C: before the chunk; dC: of the state behind it */
    const MlstmFactors &f;
    RowSums by_q, by_k; /* q . dq and k . dk */
    __device__ Adjoint(const MlstmCall &x, const MlstmFactors &f, int64_t unit, int64_t number)
        : x(x), c(x, unit, number), q(keys_of(x, c, x.q)), k(keys_of(x, c, x.k)),
          v(values_of(x, c, x.v)), dh(values_of(x, c, x.dh)),
          C(memory_of(x, c.enters ? x.states + c.state_before(x.plan) : NULL)),
          dC(memory_of(x, c.leaves ? x.dstates + c.state_behind(x.plan) : NULL)),
          f(f), by_q{}, by_k{} {
    }
    __device__ float slope(int i, int e) const { /* of the numerator */
        return f.inverse[i] * dh.at(i, e);
    }

    __device__ void squares() {
        Sums weights = {}, scores = {};
        add_product<M, false, false>(
            weights, space, x.plan.dk, [&](int i, int a) { return q.at(i, a); },
            [&](int j, int a) { return k.at(j, a); });
        each_result(weights, [&](int i, int j, float &p) { p *= x.plan.scale * f.weight(i, j); });
        store_square<M, true>(weights, space.square(WEIGHTS_TURNED));
        add_product<M, false, false>(
            scores, space, x.plan.dv, [&](int i, int e) { return slope(i, e); },
            [&](int j, int e) { return v.at(j, e); });
        each_result(scores, [&](int i, int j, float &s) {
            s = (s + f.to_dot[i]) * x.plan.scale * f.weight(i, j);
        });
        store_square<M>(scores, space.square(SCORES));
        store_square<M, true>(scores, space.square(SCORES_TURNED));
    }

    /* Delivers a tile of dq or dk from column a0 on, with what factor(row) n adds, and sums its
     * products with q or k. */
    template <class Factor>
    __device__ void deliver(Sums &sums, int a0, const ChunkRows &own, float *to, bool add,
                            const float *n, const Factor &factor, RowSums &by) {
        each_result(sums, [&](int i, int a, float value) {
            if (i >= c.count || a0 + a >= x.plan.dk) return;
            if (n) value += factor(i) * n[a0 + a];
            by.add(i, value * own.at(i, a0 + a));
            if (to) put(to + c.first_key + i * c.key_row + a0 + a, value, add);
        });
    }
    __device__ void query_tile(int a0) {
        Sums sums = {};
        add_square<M, true>(sums, space, SCORES, [&](int a, int j) { return k.at(j, a0 + a); });
        if (c.enters)
            add_product<M, false, false>(
                sums, space, x.plan.dv, [&](int i, int e) { return f.entry[i] * slope(i, e); },
                [&](int a, int e) { return C.at(a0 + a, e); });
        deliver(
            sums, a0, q, x.dq, x.add_q, c.enters ? C.from + x.plan.dk * x.plan.dv : NULL,
            [&](int i) { return f.entry[i] * f.to_dot[i]; }, by_q);
    }
    __device__ void key_tile(int a0) {
        Sums sums = {};
        add_square<M, true>(sums, space, SCORES_TURNED,
                            [&](int a, int i) { return q.at(i, a0 + a); });
        if (c.leaves)
            add_product<M, false, false>(
                sums, space, x.plan.dv, [&](int j, int e) { return f.leaving[j] * v.at(j, e); },
                [&](int a, int e) { return dC.at(a0 + a, e); });
        deliver(
            sums, a0, k, x.dk, x.add_k, c.leaves ? dC.from + x.plan.dk * x.plan.dv : NULL,
            [&](int j) { return f.leaving[j]; }, by_k);
    }
    __device__ void value_tile(int e0) {
        Sums sums = {};
        add_square<M, true>(sums, space, WEIGHTS_TURNED,
                            [&](int e, int i) { return slope(i, e0 + e); });
        if (c.leaves)
            add_product<M, false, true>(
                sums, space, x.plan.dk, [&](int j, int a) { return f.leaving[j] * k.at(j, a); },
                [&](int e, int a) { return dC.at(a, e0 + e); });
        each_result(sums, [&](int j, int e, float value) {
            if (j < c.count && e0 + e < x.plan.dv)
                put(x.dv + c.first_value + j * c.value_row + e0 + e, value, x.add_v);
        });
    }
    /* The input gates' gradients, and what the forget gates' are the sums of. */
    __device__ void gates() {
        const int64_t H = x.plan.H, first = c.unit / H * x.plan.L + c.number * T;
        for (int r = 0; r < 2; r++) {
            const float q_sum = quad_sum(by_q.of(r)), k_sum = quad_sum(by_k.of(r));
            const int i = first_row() + r * 8;
            if (threadIdx.x % QUAD != 0 || i >= c.count || !x.dgates) continue;
            put(x.dgates + (first + i) * 2 * H + c.unit % H, k_sum, x.add_gates);
            x.differences[(c.unit * x.plan.chunks + c.number) * T + i] = q_sum - k_sum;
        }
    }
};

template <class M> KERNEL void __launch_bounds__(THREADS) gradients(MlstmCall x) {
    __shared__ MlstmFactors f;
    Adjoint<M> own(x, f, blockIdx.x / x.plan.chunks, blockIdx.x % x.plan.chunks);
    f.load(x, own.c);
    own.squares();
    for (int a0 = 0; a0 < x.plan.dk; a0 += T) {
        own.query_tile(a0);
        own.key_tile(a0);
    }
    if (x.dv)
        for (int e0 = 0; e0 < x.plan.dv; e0 += T) own.value_tile(e0);
    own.gates();
}

/* The forget gates' gradients: a warp for each head adds the differences up from the end, in double
 * precision. Lane 0 has the last token of a row of WARP. */
KERNEL void __launch_bounds__(WARP) forget_gradients(MlstmCall x) {
    const int64_t unit = blockIdx.x, H = x.plan.H;
    double later = 0;
    for (int64_t last = x.plan.L - 1; last >= 0; last -= WARP) {
        const int64_t t = last - threadIdx.x;
        double sum = t >= 0 ? (double)x.differences[unit * x.plan.chunks * T + t] : 0.0;
        sum = sum_to_lane(sum) + later;
        later = __shfl_sync(0xFFFFFFFFu, sum, WARP - 1);
        if (t < 0) continue;
        const int64_t at = (unit / H * x.plan.L + t) * 2 * H + H + unit % H;
        put(x.dgates + at, (float)sum * sigmoid_of(-x.gates[at]), x.add_gates);
    }
}

static MlstmCall call_of(const OpCall *call) {
    MlstmCall x = {};
    x.plan = mlstm_plan(call);
    x.q = call->in[MLSTM_Q]->data;
    x.k = call->in[MLSTM_K]->data;
    x.v = call->in[MLSTM_V]->data;
    x.gates = call->in[MLSTM_GATES]->data;
    x.h = call->out[0]->data;
    if (call->saves) x.notes = call->saved[MLSTM_SAVED_NOTES]->data;
    if (call->saves > 1) x.states = call->saved[MLSTM_SAVED_STATES]->data;
    return x;
}

static int64_t notes_of(const MlstmPlan &plan) {
    return plan.B * plan.H * plan.chunks * T;
}
static int64_t states_of(const MlstmPlan &plan) {
    return plan.B * plan.H * (plan.chunks - 1) * plan.state;
}

static void forward(const OpCall *call, const Run *run) {
    MlstmCall x = call_of(call);
    Carver carver = {static_cast<unsigned char *>(call->scratch)};
    if (!x.notes) {
        x.notes = carver.take<float>(notes_of(x.plan) * MLSTM_NOTES);
        x.states = carver.take<float>(states_of(x.plan));
    }
    const unsigned units = (unsigned)(x.plan.B * x.plan.H);
    LAUNCH(run, open_gates, units, WARP, 0, x);
    mlstm_forward_states(run, x);
    with_products(run, [&]<class M>() {
        LAUNCH(run, results<M>, units * (unsigned)x.plan.chunks, THREADS,
               (ChunkSpace<M, 1>::bytes()), x);
    });
}

static void backward(const OpCall *call, const Run *run) {
    MlstmCall x = call_of(call);
    Carver carver = {static_cast<unsigned char *>(call->scratch)};
    x.dh = call->out[0]->gradient;
    x.to_dot = carver.take<float>(notes_of(x.plan));
    x.differences = carver.take<float>(notes_of(x.plan));
    x.dstates = carver.take<float>(states_of(x.plan));
    x.dq = gradient_of(call, MLSTM_Q);
    x.dk = gradient_of(call, MLSTM_K);
    x.dv = gradient_of(call, MLSTM_V);
    x.dgates = gradient_of(call, MLSTM_GATES);
    x.add_q = call->accumulate[MLSTM_Q];
    x.add_k = call->accumulate[MLSTM_K];
    x.add_v = call->accumulate[MLSTM_V];
    x.add_gates = call->accumulate[MLSTM_GATES];
    const unsigned units = (unsigned)(x.plan.B * x.plan.H);
    dot_gradients(run, x);
    mlstm_backward_states(run, x);
    with_products(run, [&]<class M>() {
        LAUNCH(run, gradients<M>, units * (unsigned)x.plan.chunks, THREADS,
               (ChunkSpace<M, SQUARES>::bytes()), x);
    });
    if (x.dgates) LAUNCH(run, forget_gradients, units, WARP, 0, x);
}

static size_t scratch(const OpCall *call, Phase phase) {
    const MlstmPlan plan = mlstm_plan(call);
    const size_t states = carved(states_of(plan), sizeof(float));
    if (phase == PHASE_BACKWARD) return 2 * carved(notes_of(plan), sizeof(float)) + states;
    return call->saves ? 0 : carved(notes_of(plan) * MLSTM_NOTES, sizeof(float)) + states;
}

CUDA_OP(mlstm, {forward, backward}, scratch);
