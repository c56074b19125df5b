/* Backward: the states' gradients, then all chunks at once, then the decays' gradients by a thread
 * for each channel of a chunk. Equations: gated_linear_attention_backward_cpu.c. */
#include "engine/ops/gated_linear_attention/gated_linear_attention.cuh"

/* Squares of a block: dP, and transposed dP and P. */
enum { SCORES, SCORES_TURNED, WEIGHTS_TURNED, SQUARES };

template <class M> struct GatedAdjoint {
    const GatedCall &x;
    const GatedPlan &p;
    ProductSpace<M, SQUARES> space;
    GatedChunk c;
    MatrixRows q, k, v, G, S, dS, decay; /* S: before the chunk; dS: of the state behind it */
    float *near;                         /* shared (C, BLOCK): dP inside blocks */
    __device__ GatedAdjoint(const GatedCall &x, float *near)
        : x(x), p(x.plan), c(p, blockIdx.x), q(c.tokens(p, x.q, p.d)), k(c.tokens(p, x.k, p.d)),
          v(c.tokens(p, x.v, p.m)), G(c.tokens(p, x.G, p.m)), S(c.state(p, x.states)),
          dS(c.state(p, x.dstates)), decay(c.own(p, x.decay, T)), near(near) {
    }

    __device__ void squares() {
        weigh<M, true>(space, WEIGHTS_TURNED, x, c);
        Sums scores = {};
        add_product<M, false, false>(
            scores, space, p.m, [&](int i, int e) { return G.at(i, e); },
            [&](int j, int e) { return v.at(j, e); });
        store_square<M>(scores, space.square(SCORES));
        store_square<M, true>(scores, space.square(SCORES_TURNED));
        each_result(scores, [&](int i, int j, float value) {
            if (i / BLOCK == j / BLOCK) near[i * BLOCK + j % BLOCK] = value;
        });
    }

    /* From the gradients of level + 1 to those of the level, columns from a0 on: of keys, which
     * take from the span behind theirs, or of queries, from the one before. */
    template <bool KEYS> __device__ void part_spans(Sums &sums, int a0, int level) {
        const int span = BLOCK << level, strip = (int)threadIdx.x / WARP * STRIP;
        const MatrixRows rows = c.own(p, KEYS ? x.queries[level] : x.keys[level], T);
        const MatrixRows totals = c.own(p, x.totals[level], T / span);
        for (int first = 0; first < T; first += 2 * span) {
            const int giver = KEYS ? first + span : first, taker = KEYS ? first : first + span;
            const int slab = giver / SLAB * SLAB;
            __syncthreads();
            fill<M, SLAB, true>(space.slab(1), [&](int a, int i) {
                const int t = slab + i;
                return t >= giver && t < giver + span ? rows.at(t, a0 + a) : 0.0f;
            });
            __syncthreads();
            if (strip < taker || strip >= taker + span) continue;
            each_result(sums,
                        [&](int, int a, float &sum) { sum *= totals.at(giver / span, a0 + a); });
            multiply_slab<M>(sums, space.square(KEYS ? SCORES_TURNED : SCORES), space.slab(1),
                             (unsigned)slab);
        }
    }

    /* Gradients of q or k from those of the first level: tokens of the same block by Horner's
     * scheme. */
    __device__ float query_gradient(int i, int a, float value) const {
        float sum = 0, since = 1;
#pragma unroll 1
        for (int j = i / BLOCK * BLOCK; j <= i; j++) {
            const float step = decay.at(j, a);
            sum = sum * step + near[i * BLOCK + j % BLOCK] * k.at(j, a);
            since *= step;
        }
        return value * since + sum;
    }
    __device__ float key_gradient(int j, int a, float value) const {
        float sum = 0, until = 1;
#pragma unroll 1
        for (int i = j / BLOCK * BLOCK + BLOCK - 1; i > j; i--) {
            const float step = decay.at(i, a);
            sum = (sum + near[i * BLOCK + j % BLOCK] * x.scale * q.at(i, a)) * step;
            until *= step;
        }
        return value * until + sum + near[j * BLOCK + j % BLOCK] * x.scale * q.at(j, a);
    }

    __device__ void key_channels(int a0) {
        Sums queries = {}, keys = {};
        add_product<M, false, false>(
            queries, space, p.m, [&](int i, int e) { return G.at(i, e); },
            [&](int a, int e) { return S.at(a0 + a, e); });
        add_product<M, false, false>(
            keys, space, p.m, [&](int j, int e) { return v.at(j, e); },
            [&](int a, int e) { return dS.at(a0 + a, e); });
        for (int level = LEVELS - 2; level >= 0; level--) {
            part_spans<false>(queries, a0, level);
            part_spans<true>(keys, a0, level);
        }
        each_result(queries, [&](int i, int a, float &value) {
            if (i >= c.count || a0 + a >= p.d) return;
            const float dq = query_gradient(i, a0 + a, value);
            if (x.dq) put(x.dq + c.first * p.d + i * q.row + a0 + a, x.scale * dq, x.add_q);
            x.differences[(c.place * T + i) * p.d + a0 + a] = x.scale * q.at(i, a0 + a) * dq;
        });
        each_result(keys, [&](int j, int a, float &value) {
            if (j >= c.count || a0 + a >= p.d) return;
            const float dk = key_gradient(j, a0 + a, value);
            if (x.dk) put(x.dk + c.first * p.d + j * k.row + a0 + a, dk, x.add_k);
            x.differences[(c.place * T + j) * p.d + a0 + a] -= k.at(j, a0 + a) * dk;
        });
    }

    __device__ void value_channels(int e0) {
        const MatrixRows keys = c.own(p, x.keys[LEVELS - 1], T);
        Sums sums = {};
        add_square<M, true>(sums, space, WEIGHTS_TURNED,
                            [&](int e, int i) { return G.at(i, e0 + e); });
        add_product<M, false, true>(
            sums, space, p.d, [&](int j, int a) { return keys.at(j, a); },
            [&](int e, int a) { return dS.at(a, e0 + e); });
        each_result(sums, [&](int j, int e, float value) {
            if (j < c.count && e0 + e < p.m)
                put(x.dv + c.first * p.m + j * v.row + e0 + e, value, x.add_v);
        });
    }
};

template <class M> KERNEL void __launch_bounds__(THREADS) gradients(GatedCall x) {
    __shared__ float near[T * BLOCK];
    GatedAdjoint<M> own(x, near);
    own.squares();
    for (int a0 = 0; a0 < x.plan.d; a0 += T) own.key_channels(a0);
    if (x.dv)
        for (int e0 = 0; e0 < x.plan.m; e0 += T) own.value_channels(e0);
}

/* S . dS behind every chunk, (B, H, chunks, d), by a warp each; next: behind the last, or NULL. */
static void end_products(const Run *run, const GatedCall &call, const float *next, float *to) {
    const GatedCall x = call;
    const int64_t d = x.plan.d, m = x.plan.m, chunks = x.plan.chunks;
    const Divisor channels = divide_by(d);
    for_each(run, x.plan.B * x.plan.H * chunks * d * WARP, [=] __device__(int64_t at) {
        const int64_t n = at / WARP, place = channels.of(n), a = n - place * d;
        const GatedChunk c(x.plan, place);
        const float *S = next ? next + (c.unit * d + a) * m : NULL;
        if (c.number + 1 < chunks) S = x.states + ((place + 1) * d + a) * m;
        float sum = 0;
        for (int64_t e = at % WARP; S && e < m; e += WARP) sum += S[e] * x.dstates[n * m + e];
        sum = warp_sum(sum);
        if (at % WARP == 0) to[n] = sum;
    });
}

static void decay_gradients(const Run *run, const GatedCall &call, const float *products, float *to,
                            bool add) {
    const GatedCall x = call;
    const int64_t d = x.plan.d;
    const Divisor channels = divide_by(d);
    for_each(run, x.plan.B * x.plan.H * x.plan.chunks * d, [=] __device__(int64_t n) {
        const int64_t place = channels.of(n), a = n - place * d;
        const GatedChunk c(x.plan, place);
        float sum = products[n];
        for (int i = c.count - 1; i >= 0; i--) {
            sum += x.differences[(place * T + i) * d + a];
            put(to + (c.first + i * x.plan.H) * d + a, sum, add);
        }
    });
}

void gated_linear_attention_gradients(const OpCall *call, const Run *run) {
    Carver carver = {static_cast<unsigned char *>(call->scratch)};
    GatedCall x = gated_prepare(call, run, carver);
    const GatedPlan &p = x.plan;
    const int64_t heads = p.B * p.H, places = heads * p.chunks;
    x.G = call->out[0]->gradient;
    x.dstates = carver.take<float>(places * p.state);
    x.differences = carver.take<float>(places * T * p.d);
    x.dq = gradient_of(call, GATED_Q);
    x.dk = gradient_of(call, GATED_K);
    x.dv = gradient_of(call, GATED_V);
    x.add_q = call->accumulate[GATED_Q];
    x.add_k = call->accumulate[GATED_K];
    x.add_v = call->accumulate[GATED_V];
    const Tensor *const next = call->outputs > 1 ? call->out[1] : NULL;
    float *const products = carver.take<float>(places * p.d);
    GatedPass pass = {};
    pass.back = true;
    pass.begin = next ? next->gradient : NULL;
    pass.rows = x.queries[LEVELS - 1];
    pass.values = x.G;
    pass.states = x.dstates;
    pass.end = gradient_of(call, GATED_STATE);
    pass.behind = pass.end ? carver.take<float>(heads * p.state) : NULL;
    pass.add = call->accumulate[GATED_STATE];
    gated_pass(run, x, pass);
    with_products(run, [&]<class M>() {
        LAUNCH(run, gradients<M>, (unsigned)places, THREADS, (ProductSpace<M, SQUARES>::bytes()),
               x);
    });
    if (float *const decay = gradient_of(call, GATED_DECAY)) {
        end_products(run, x, next ? next->data : NULL, products);
        decay_gradients(run, x, products, decay, call->accumulate[GATED_DECAY]);
    }
}
