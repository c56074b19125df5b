/* Forward: decays by a thread for each channel of a chunk, the states, then all chunks at once. */
#include "engine/ops/gated_linear_attention/gated_linear_attention.cuh"

static int64_t places_of(const GatedPlan &plan) {
    return plan.B * plan.H * plan.chunks;
}

size_t gated_prepared(const GatedPlan &plan) {
    const int64_t rows = places_of(plan) * plan.d;
    size_t bytes = carved(rows * T, sizeof(float));
    for (int level = 0; level < LEVELS; level++)
        bytes += 2 * carved(rows * T, sizeof(float)) +
                 carved(rows * (T / BLOCK >> level), sizeof(float));
    return bytes;
}

/* Products of a's that begin anew with every span of each level. */
struct SpanDecays {
    float of[LEVELS];
    __device__ void begin(int tokens) {
        for (int level = 0; level < LEVELS; level++)
            if (tokens % (BLOCK << level) == 0) of[level] = 1;
    }
    __device__ void multiply(float a) {
        for (int level = 0; level < LEVELS; level++) of[level] *= a;
    }
};

static void decay_spans(const Run *run, const GatedCall &call) {
    const GatedCall x = call;
    const Divisor channels = divide_by(x.plan.d);
    for_each(run, places_of(x.plan) * x.plan.d, [=] __device__(int64_t n) {
        const int64_t place = channels.of(n), d = x.plan.d, a = n - place * d;
        const GatedChunk c(x.plan, place);
        const MatrixRows q = c.tokens(x.plan, x.q, d), k = c.tokens(x.plan, x.k, d);
        const MatrixRows log_decay = c.tokens(x.plan, x.log_decay, d);
        const int64_t first = place * T * d + a;
        SpanDecays since = {}, until = {};
        for (int i = 0; i < T; i++) {
            const float decay = expf(log_decay.at(i, (int)a)), query = x.scale * q.at(i, (int)a);
            since.begin(i);
            since.multiply(decay);
            x.decay[first + i * d] = decay;
            for (int level = 0; level < LEVELS; level++) {
                const int span = BLOCK << level;
                x.queries[level][first + i * d] = query * since.of[level];
                if ((i + 1) % span == 0)
                    x.totals[level][(place * (T / span) + i / span) * d + a] = since.of[level];
            }
        }
        for (int i = T - 1; i >= 0; i--) {
            const float key = k.at(i, (int)a);
            until.begin(i + 1);
            for (int level = 0; level < LEVELS; level++)
                x.keys[level][first + i * d] = key * until.of[level];
            until.multiply(x.decay[first + i * d]);
        }
    });
}

GatedCall gated_prepare(const OpCall *call, const Run *run, Carver &carver) {
    GatedCall x = {};
    x.plan = gated_plan(call);
    x.scale = (float)static_cast<const GatedLinearAttention *>(call->attributes)->scale;
    x.q = call->in[GATED_Q]->data;
    x.k = call->in[GATED_K]->data;
    x.v = call->in[GATED_V]->data;
    x.log_decay = call->in[GATED_DECAY]->data;
    x.out = call->out[0]->data;
    if (call->saves) x.states = call->saved[0]->data;
    const int64_t rows = places_of(x.plan) * x.plan.d;
    x.decay = carver.take<float>(rows * T);
    for (int level = 0; level < LEVELS; level++) {
        x.queries[level] = carver.take<float>(rows * T);
        x.keys[level] = carver.take<float>(rows * T);
        x.totals[level] = carver.take<float>(rows * (T / BLOCK >> level));
    }
    decay_spans(run, x);
    return x;
}

/* Where a chunk's addition belongs: NULL for none. */
__device__ static inline float *next_place(const GatedPlan &p, const GatedPass &pass, int64_t unit,
                                           int64_t number) {
    const int64_t next = pass.back ? number - 1 : number + 1;
    if (next >= 0 && next < p.chunks) return pass.states + (unit * p.chunks + next) * p.state;
    return pass.behind ? pass.behind + unit * p.state : NULL;
}

/* rows^T values of every chunk, tile by tile. Grid: (chunks of all heads, tiles of d, of m). */
template <class M> KERNEL void __launch_bounds__(THREADS) add_chunk(GatedCall x, GatedPass pass) {
    const ProductSpace<M, 0> space;
    const GatedPlan &p = x.plan;
    const GatedChunk c(p, blockIdx.x);
    float *const to = next_place(p, pass, c.unit, c.number);
    if (!to) return;
    const int a0 = (int)blockIdx.y * T, e0 = (int)blockIdx.z * T;
    const MatrixRows rows = c.own(p, pass.rows, T), values = c.tokens(p, pass.values, p.m);
    Sums sums = {};
    add_product<M, true, true>(
        sums, space, c.count, [&](int a, int t) { return rows.at(t, a0 + a); },
        [&](int e, int t) { return values.at(t, e0 + e); });
    each_result(sums, [&](int a, int e, float sum) {
        if (a0 + a < p.d && e0 + e < p.m) to[(a0 + a) * p.m + e0 + e] = sum;
    });
}

void gated_pass(const Run *run, const GatedCall &call, const GatedPass &of) {
    const GatedCall x = call;
    const GatedPass pass = of;
    const int64_t places = places_of(x.plan), state = x.plan.state;
    const dim3 tiles((unsigned)places, blocks_for(x.plan.d, T), blocks_for(x.plan.m, T));
    with_products(run, [&]<class M>() {
        LAUNCH(run, add_chunk<M>, tiles, THREADS, (ProductSpace<M, 0>::bytes()), x, pass);
    });
    const Divisor of_state = divide_by(state), of_row = divide_by(x.plan.m);
    for_each(run, x.plan.B * x.plan.H * state, [=] __device__(int64_t n) {
        const GatedPlan &p = x.plan;
        const int64_t unit = of_state.of(n), at = n - unit * state, a = of_row.of(at);
        float S = pass.begin ? pass.begin[n] : 0.0f;
        const int64_t first = pass.back ? p.chunks - 1 : 0;
        pass.states[(unit * p.chunks + first) * state + at] = S;
        for (int64_t step = 0; step < p.chunks; step++) {
            const int64_t number = pass.back ? first - step : step;
            float *const to = next_place(p, pass, unit, number);
            if (!to) return;
            S = x.totals[LEVELS - 1][(unit * p.chunks + number) * p.d + a] * S + to[at];
            if (step + 1 < p.chunks)
                to[at] = S;
            else
                put(pass.end + n, S, pass.add);
        }
    });
}

template <class M> KERNEL void __launch_bounds__(THREADS) results(GatedCall x) {
    const ProductSpace<M, 1> space;
    const GatedPlan &p = x.plan;
    const GatedChunk c(p, blockIdx.x);
    const MatrixRows v = c.tokens(p, x.v, p.m), S = c.state(p, x.states);
    const MatrixRows queries = c.own(p, x.queries[LEVELS - 1], T);
    weigh<M, false>(space, 0, x, c);
    for (int e0 = 0; e0 < p.m; e0 += T) {
        Sums sums = {};
        add_product<M, false, true>(
            sums, space, p.d, [&](int i, int a) { return queries.at(i, a); },
            [&](int e, int a) { return S.at(a, e0 + e); });
        add_square<M, true>(sums, space, 0, [&](int e, int j) { return v.at(j, e0 + e); });
        each_result(sums, [&](int i, int e, float value) {
            if (i < c.count && e0 + e < p.m) x.out[c.first * p.m + i * v.row + e0 + e] = value;
        });
    }
}

/* One token of decoding: a thread for each channel of the values. */
static void token_forward(const OpCall *call, const Run *run) {
    const GatedPlan p = gated_plan(call);
    const float scale = (float)static_cast<const GatedLinearAttention *>(call->attributes)->scale;
    const float *const q = call->in[GATED_Q]->data, *const k = call->in[GATED_K]->data;
    const float *const v = call->in[GATED_V]->data, *const decay = call->in[GATED_DECAY]->data;
    const float *const from = call->in[GATED_STATE]->data;
    float *const to = call->out[1]->data, *const out = call->out[0]->data;
    const Divisor of_head = divide_by(p.m);
    for_each(run, p.B * p.H * p.m, [=] __device__(int64_t n) {
        const int64_t unit = of_head.of(n), first = unit * p.state + n - unit * p.m;
        float sum = 0;
        for (int64_t a = 0; a < p.d; a++) {
            const int64_t key = unit * p.d + a, at = first + a * p.m;
            const float S = expf(decay[key]) * from[at] + k[key] * v[n];
            to[at] = S;
            sum += scale * q[key] * S;
        }
        out[n] = sum;
    });
}

static bool is_token(const OpCall *call) {
    return extent(call->in[GATED_Q], 1) == 1 && input_of(call, GATED_STATE) && !call->saves;
}

static void forward(const OpCall *call, const Run *run) {
    if (is_token(call)) {
        token_forward(call, run);
        return;
    }
    Carver carver = {static_cast<unsigned char *>(call->scratch)};
    GatedCall x = gated_prepare(call, run, carver);
    if (!x.states) x.states = carver.take<float>(places_of(x.plan) * x.plan.state);
    GatedPass pass = {};
    pass.begin = data_of(call, GATED_STATE);
    pass.rows = x.keys[LEVELS - 1];
    pass.values = x.v;
    pass.states = x.states;
    pass.behind = pass.end = pass.begin ? call->out[1]->data : NULL;
    gated_pass(run, x, pass);
    with_products(run, [&]<class M>() {
        LAUNCH(run, results<M>, (unsigned)places_of(x.plan), THREADS, (ProductSpace<M, 1>::bytes()),
               x);
    });
}

static size_t scratch(const OpCall *call, Phase phase) {
    const GatedPlan plan = gated_plan(call);
    const size_t states = carved(places_of(plan) * plan.state, sizeof(float));
    if (phase == PHASE_BACKWARD)
        return gated_prepared(plan) + states + carved(plan.B * plan.H * plan.state, sizeof(float)) +
               carved(places_of(plan) * T * plan.d, sizeof(float)) +
               carved(places_of(plan) * plan.d, sizeof(float));
    if (is_token(call)) return 0;
    return gated_prepared(plan) + (call->saves ? 0 : states);
}

CUDA_OP(gated_linear_attention, {forward, gated_linear_attention_gradients}, scratch);
