/* Forward: the triangular systems of all chunks at once (delta_rule_open.cu); then the chunks one
 * after the other, a block for each head and 64 channels of its values, which do not meet; then
 * the results of all chunks at once. */
#include "engine/ops/delta_rule/delta_rule.cuh"

/* The states before all chunks and W. Grid: (B H, tiles of m). */
template <class M> KERNEL void __launch_bounds__(THREADS) walk(DeltaCall x) {
    __shared__ DeltaFactors factors;
    const DeltaPlan &p = x.plan;
    const ProductSpace<M, 0> space;
    const int64_t unit = blockIdx.x;
    const int c0 = (int)blockIdx.y * TILE, columns = p.m - c0 < TILE ? (int)(p.m - c0) : TILE;
    float *state = x.states + unit * p.chunks * p.state + c0;
    for (int i = (int)threadIdx.x; i < p.d * columns; i += THREADS) {
        const int64_t at = i / columns * p.m + i % columns;
        state[at] = x.start ? x.start[unit * p.state + c0 + at] : 0.0f;
    }
    for (int64_t number = 0; number < p.chunks; number++) {
        DeltaChunk c(x, unit, number);
        __syncthreads(); /* the factors are read, the state is there */
        c.load(factors);
        __syncthreads();
        finish_errors<M>(space, c, c0);
        float *const next = number + 1 < p.chunks ? state + p.state
                            : x.end               ? x.end + unit * p.state + c0
                                                  : NULL;
        for (int a0 = 0; next && a0 < p.d; a0 += TILE) {
            Sums sums = {};
            add_product<M, true, true>(
                sums, space, c.count,
                [&](int a, int t) { return t < c.count ? c.decays.before(t) * c.k(t, a0 + a) : 0; },
                [&](int e, int t) { return t < c.count ? c.correction(t, c0 + e) : 0; });
            each_result(sums, [&](int a, int e, float value) {
                if (a0 + a >= p.d || e >= columns) return;
                const int64_t at = (a0 + a) * p.m + e;
                next[at] = c.left() * state[at] + value;
            });
        }
        state = next;
    }
}

template <class M> KERNEL void __launch_bounds__(THREADS) results(DeltaCall x) {
    __shared__ DeltaFactors factors;
    const DeltaPlan &p = x.plan;
    const ProductSpace<M, 1> space;
    DeltaChunk c(x, blockIdx.x / p.chunks, blockIdx.x % p.chunks);
    c.load(factors);
    __syncthreads();
    Sums weights = {};
    query_triangle<M>(weights, space, c);
    store_square<M>(weights, space.square(0));
    const MatrixRows state = c.state(x.states);
    for (int c0 = 0; c0 < p.m; c0 += TILE) {
        Sums sums = {};
        add_product<M, false, true>(
            sums, space, p.d, [&](int i, int a) { return c.decays.since(i) * c.q(i, a); },
            [&](int e, int a) { return state.at(a, c0 + e); });
        add_square<M, true>(sums, space, 0, [&](int e, int j) { return c.correction(j, c0 + e); });
        each_result(sums, [&](int i, int e, float value) {
            if (i < c.count && c0 + e < p.m) x.out[c.at(i, p.m, c0 + e)] = value;
        });
    }
}

/* One token of decoding: a thread for each channel of the values. */
static void one_token(const Run *run, const DeltaCall &call, const float *log_decay) {
    const DeltaCall x = call;
    const Divisor channels = divide_by(x.plan.m);
    for_each(run, x.plan.B * x.plan.H * x.plan.m, [=] __device__(int64_t at) {
        const int64_t unit = channels.of(at), d = x.plan.d, m = x.plan.m;
        const int64_t first = unit * x.plan.state + (at - unit * m);
        const float decay = log_decay ? expf(log_decay[unit]) : 1.0f;
        float under_k = 0, under_q = 0, match = 0;
        for (int64_t i = 0; i < d; i++) {
            const float q = x.q_scale * x.q[unit * d + i], k = x.k_scale * x.k[unit * d + i];
            const float own = decay * x.start[first + i * m];
            under_k += own * k;
            under_q += own * q;
            match += q * k;
        }
        const float correction = x.beta[unit] * (x.v[at] - under_k);
        x.out[at] = under_q + match * correction;
        for (int64_t i = 0; i < d; i++)
            x.end[first + i * m] =
                decay * x.start[first + i * m] + x.k_scale * x.k[unit * d + i] * correction;
    });
}

static int64_t chunks_of(const DeltaPlan &p) {
    return p.B * p.H * p.chunks;
}

static DeltaCall call_of(const OpCall *call, const Run *run, Carver *carver) {
    const DeltaRule *a = static_cast<const DeltaRule *>(call->attributes);
    DeltaCall x = {};
    x.plan = delta_rule_plan(call);
    x.q_scale = (float)a->q_scale;
    x.k_scale = (float)a->k_scale;
    x.q = call->in[DELTA_Q]->data;
    x.k = call->in[DELTA_K]->data;
    x.v = call->in[DELTA_V]->data;
    x.beta = call->in[DELTA_BETA]->data;
    x.out = call->out[0]->data;
    x.start = data_of(call, DELTA_STATE);
    x.end = x.start ? call->out[1]->data : NULL;
    const int64_t chunks = chunks_of(x.plan);
    x.inverse = carver->take<float>(chunks * TILE * TILE);
    x.reads = carver->take<float>(chunks * TILE * x.plan.d);
    x.errors = carver->take<float>(x.plan.B * x.plan.L * x.plan.H * x.plan.m);
    x.states = call->saves ? call->saved[DELTA_SAVED_STATES]->data
                           : carver->take<float>(chunks * x.plan.state);
    if (const float *const log_decay = data_of(call, DELTA_DECAY)) {
        float *const sums = carver->take<float>(chunks * 2 * TILE);
        sum_chunk_decays(run, x.plan.B, x.plan.L, x.plan.H, log_decay, false, sums);
        x.sums = sums;
    }
    return x;
}

static void forward(const OpCall *call, const Run *run) {
    Carver carver = {static_cast<unsigned char *>(call->scratch)};
    const DeltaCall x = call_of(call, run, &carver);
    if (x.plan.L == 1 && x.start && !call->saves) {
        one_token(run, x, data_of(call, DELTA_DECAY));
        return;
    }
    delta_rule_open(run, x);
    with_products(run, [&]<class M>() {
        const dim3 heads((unsigned)(x.plan.B * x.plan.H), blocks_for(x.plan.m, TILE));
        LAUNCH(run, walk<M>, heads, THREADS, (ProductSpace<M, 0>::bytes()), x);
        LAUNCH(run, results<M>, (unsigned)chunks_of(x.plan), THREADS, (ProductSpace<M, 1>::bytes()),
               x);
    });
}

static void backward(const OpCall *call, const Run *run) {
    Carver carver = {static_cast<unsigned char *>(call->scratch)};
    DeltaCall x = call_of(call, run, &carver);
    const int64_t chunks = chunks_of(x.plan), values = x.plan.B * x.plan.L * x.plan.H * x.plan.m;
    x.dout = call->out[0]->gradient;
    x.dend = call->outputs > 1 ? call->out[1]->gradient : NULL;
    x.dcorrections = carver.take<float>(values);
    x.dvalues = carver.take<float>(values);
    x.dstates = carver.take<float>(chunks * x.plan.state);
    x.differences = carver.take<float>(chunks * TILE);
    x.dq = gradient_of(call, DELTA_Q);
    x.dk = gradient_of(call, DELTA_K);
    x.dv = gradient_of(call, DELTA_V);
    x.dbeta = gradient_of(call, DELTA_BETA);
    x.dstart = gradient_of(call, DELTA_STATE);
    x.add_q = call->accumulate[DELTA_Q];
    x.add_k = call->accumulate[DELTA_K];
    x.add_v = call->accumulate[DELTA_V];
    x.add_beta = call->accumulate[DELTA_BETA];
    x.add_start = call->accumulate[DELTA_STATE];
    delta_rule_open(run, x);
    delta_rule_gradients(run, x);
    float *const to = gradient_of(call, DELTA_DECAY);
    if (to)
        delta_rule_decay_gradient(run, x, to, call->accumulate[DELTA_DECAY],
                                  carver.take<float>(chunks));
}

static size_t scratch(const OpCall *call, Phase phase) {
    const DeltaPlan p = delta_rule_plan(call);
    const int64_t chunks = chunks_of(p), values = p.B * p.L * p.H * p.m;
    size_t bytes = carved(chunks * TILE * TILE, 4) + carved(chunks * TILE * p.d, 4) +
                   carved(values, 4) + carved(chunks * 2 * TILE, 4) + carved(chunks * p.state, 4);
    if (phase == PHASE_BACKWARD)
        bytes += 2 * carved(values, 4) + carved(chunks * TILE, 4) + carved(chunks, 4);
    return bytes;
}

CUDA_OP(delta_rule, {forward, backward}, scratch);
