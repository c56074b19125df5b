/* Backward (the equations stand in delta_rule_backward_cpu.c): W again, of all chunks at once; the
 * gradients of U and of the states from the last chunk to the first, a block for each head and 64
 * channels of its values; then what is inside chunks, all of them at once. */
#include "engine/ops/delta_rule/delta_rule.cuh"

/* W of all chunks, and P^T dO, the first term of dU. */
template <class M> KERNEL void __launch_bounds__(THREADS) begin_corrections(DeltaCall x) {
    __shared__ DeltaFactors factors;
    const DeltaPlan &p = x.plan;
    const ProductSpace<M, 1> space;
    DeltaChunk c(x, blockIdx.x / p.chunks, blockIdx.x % p.chunks);
    c.load(factors);
    __syncthreads();
    Sums weights = {};
    query_triangle<M>(weights, space, c);
    store_square<M, true>(weights, space.square(0));
    const MatrixRows dout = c.values(x.dout);
    for (int c0 = 0; c0 < p.m; c0 += TILE) {
        finish_errors<M>(space, c, c0);
        Sums sums = {};
        add_square<M, true>(sums, space, 0, [&](int e, int i) { return dout.at(i, c0 + e); });
        each_result(sums, [&](int j, int e, float value) {
            if (j < c.count && c0 + e < p.m) x.dcorrections[c.at(j, p.m, c0 + e)] = value;
        });
    }
}

/* dU and dS behind all chunks. Grid: (B H, tiles of m). */
template <class M> KERNEL void __launch_bounds__(THREADS) walk_back(DeltaCall x) {
    __shared__ DeltaFactors factors;
    const DeltaPlan &p = x.plan;
    const ProductSpace<M, 0> space;
    const int64_t unit = blockIdx.x;
    const int c0 = (int)blockIdx.y * TILE, columns = p.m - c0 < TILE ? (int)(p.m - c0) : TILE;
    float *behind = x.dstates + (unit + 1) * p.chunks * p.state - p.state + c0;
    for (int i = (int)threadIdx.x; i < p.d * columns; i += THREADS) {
        const int64_t at = i / columns * p.m + i % columns;
        behind[at] = x.dend ? x.dend[unit * p.state + c0 + at] : 0.0f;
    }
    for (int64_t number = p.chunks - 1; number >= 0; number--, behind -= p.state) {
        DeltaChunk c(x, unit, number);
        __syncthreads(); /* the factors are read, the state's gradient is there */
        c.load(factors);
        __syncthreads();
        const MatrixRows state = c.state(x.dstates), reads = c.own(x.reads, p.d);
        const MatrixRows dout = c.values(x.dout), dcorrections = c.values(x.dcorrections);
        Sums sums = {};
        add_product<M, false, true>(
            sums, space, p.d, [&](int i, int a) { return c.decays.before(i) * c.k(i, a); },
            [&](int e, int a) { return state.at(a, c0 + e); });
        each_result(sums, [&](int i, int e, float value) {
            if (i < c.count && e < columns) x.dcorrections[c.at(i, p.m, c0 + e)] += value;
        });
        float *const to = number > 0 ? behind - p.state
                          : x.dstart ? x.dstart + unit * p.state + c0
                                     : NULL;
        const bool add = number == 0 && x.add_start;
        for (int a0 = 0; to && a0 < p.d; a0 += TILE) {
            Sums state_sums = {};
            add_product<M, true, true>(
                state_sums, space, TILE,
                [&](int a, int t) { return c.decays.since(t) * c.q(t, a0 + a); },
                [&](int e, int t) { return dout.at(t, c0 + e); });
            add_product<M, true, true>(
                state_sums, space, TILE,
                [&](int a, int t) { return -c.beta[t] * reads.at(t, a0 + a); },
                [&](int e, int t) { return dcorrections.at(t, c0 + e); });
            each_result(state_sums, [&](int a, int e, float value) {
                if (a0 + a >= p.d || e >= columns) return;
                const int64_t at = (a0 + a) * p.m + e;
                put(to + at, c.left() * behind[at] + value, add);
            });
        }
    }
}

/* dV = (I + M D)^-T D dU and, with Y = dU - M^T dV, dbeta_j = w_j . y_j. */
template <class M> KERNEL void __launch_bounds__(THREADS) value_gradients(DeltaCall x) {
    __shared__ DeltaFactors factors;
    const DeltaPlan &p = x.plan;
    const ProductSpace<M, 1> space;
    DeltaChunk c(x, blockIdx.x / p.chunks, blockIdx.x % p.chunks);
    c.load(factors);
    __syncthreads();
    Sums triangle = {};
    key_triangle<M>(triangle, space, c);
    store_square<M, true>(triangle, space.square(0));
    const MatrixRows inverse = c.own(x.inverse, TILE), errors = c.values(x.errors);
    const MatrixRows dcorrections = c.values(x.dcorrections), dvalues = c.values(x.dvalues);
    RowSums by_beta = {};
    for (int c0 = 0; c0 < p.m; c0 += TILE) {
        Sums sums = {}, later = {};
        add_product<M, true, true>(
            sums, space, TILE, [&](int j, int i) { return inverse.at(i, j); },
            [&](int e, int i) { return c.beta[i] * dcorrections.at(i, c0 + e); });
        each_result(sums, [&](int j, int e, float value) {
            if (j >= c.count || c0 + e >= p.m) return;
            const int64_t at = c.at(j, p.m, c0 + e);
            value += c.beta[j] * dcorrections.at(j, c0 + e);
            x.dvalues[at] = value;
            if (x.dv) put(x.dv + at, value, x.add_v);
        });
        add_square<M, true>(later, space, 0, [&](int e, int i) { return dvalues.at(i, c0 + e); });
        each_result(later, [&](int j, int e, float value) {
            by_beta.add(j, errors.at(j, c0 + e) * (dcorrections.at(j, c0 + e) - value));
        });
    }
    for (int r = 0; r < 2; r++) {
        const float sum = quad_sum(by_beta.of(r));
        const int j = first_row() + r * 8;
        if (threadIdx.x % QUAD == 0 && j < c.count && x.dbeta)
            put(x.dbeta + c.first + j * p.H, sum, x.add_beta);
    }
}

/* Squares of the next kernel, the gradients of P and M and the transposed ones. */
enum { OF_P, OF_M, OF_P_TURNED, OF_M_TURNED, SQUARES };

template <class M>
__device__ static inline void store_triangle_gradients(const ProductSpace<M, SQUARES> &space,
                                                       const DeltaChunk &c) {
    const MatrixRows dout = c.values(c.x.dout), dvalues = c.values(c.x.dvalues);
    const auto correction = [&](int j, int e) { return c.correction(j, e); };
    Sums of_p = {}, of_m = {};
    add_product<M, false, false>(
        of_p, space, c.x.plan.m, [&](int i, int e) { return dout.at(i, e); }, correction);
    add_product<M, false, false>(
        of_m, space, c.x.plan.m, [&](int i, int e) { return -dvalues.at(i, e); }, correction);
    each_result(of_p,
                [&](int i, int j, float &p) { p = j > i ? 0.0f : p * c.decays.between(j, i); });
    each_result(of_m,
                [&](int i, int j, float &p) { p = j >= i ? 0.0f : p * c.decays.between(j, i); });
    store_square<M>(of_p, space.square(OF_P));
    store_square<M>(of_m, space.square(OF_M));
    store_square<M, true>(of_p, space.square(OF_P_TURNED));
    store_square<M, true>(of_m, space.square(OF_M_TURNED));
}

template <class M> KERNEL void __launch_bounds__(THREADS) key_gradients(DeltaCall x) {
    __shared__ DeltaFactors factors;
    const DeltaPlan &p = x.plan;
    const ProductSpace<M, SQUARES> space;
    DeltaChunk c(x, blockIdx.x / p.chunks, blockIdx.x % p.chunks);
    c.load(factors);
    __syncthreads();
    store_triangle_gradients<M>(space, c);
    const MatrixRows state = c.state(x.states), dstate = c.state(x.dstates);
    const MatrixRows dout = c.values(x.dout), dvalues = c.values(x.dvalues);
    RowSums difference = {};
    for (int a0 = 0; a0 < p.d; a0 += TILE) {
        const auto q = [&](int a, int j) { return c.q(j, a0 + a); };
        const auto k = [&](int a, int j) { return c.k(j, a0 + a); };
        const auto of_state = [&](int a, int e) { return state.at(a0 + a, e); };
        Sums dq = {}, reads = {}, writes = {};
        add_square<M, true>(dq, space, OF_P, k);
        add_product<M, false, false>(
            dq, space, p.m, [&](int i, int e) { return c.decays.since(i) * dout.at(i, e); },
            of_state);
        add_square<M, true>(reads, space, OF_M, k);
        add_product<M, false, false>(
            reads, space, p.m, [&](int i, int e) { return -c.decays.since(i) * dvalues.at(i, e); },
            of_state);
        add_square<M, true>(writes, space, OF_P_TURNED, q);
        add_square<M, true>(writes, space, OF_M_TURNED, k);
        add_product<M, false, false>(
            writes, space, p.m,
            [&](int j, int e) { return c.decays.before(j) * c.correction(j, e); },
            [&](int a, int e) { return dstate.at(a0 + a, e); });
        each_result(dq, [&](int i, int a, float value) {
            difference.add(i, c.q(i, a0 + a) * value);
            if (x.dq && i < c.count && a0 + a < p.d)
                put(x.dq + c.at(i, p.d, a0 + a), x.q_scale * value, x.add_q);
        });
        each_result(reads,
                    [&](int i, int a, float value) { difference.add(i, c.k(i, a0 + a) * value); });
        each_result(writes,
                    [&](int i, int a, float value) { difference.add(i, -c.k(i, a0 + a) * value); });
#pragma unroll
        for (int i = 0; i < TILE / 8; i++)
#pragma unroll
            for (int e = 0; e < 4; e++) writes[i][e] += reads[i][e];
        each_result(writes, [&](int i, int a, float value) {
            if (x.dk && i < c.count && a0 + a < p.d)
                put(x.dk + c.at(i, p.d, a0 + a), x.k_scale * value, x.add_k);
        });
    }
    for (int r = 0; r < 2; r++) {
        const float sum = quad_sum(difference.of(r));
        if (threadIdx.x % QUAD == 0) x.differences[c.place() * TILE + first_row() + r * 8] = sum;
    }
}

void delta_rule_gradients(const Run *run, const DeltaCall &x) {
    const unsigned heads = (unsigned)(x.plan.B * x.plan.H);
    const unsigned chunks = heads * (unsigned)x.plan.chunks;
    with_products(run, [&]<class M>() {
        const size_t square = ProductSpace<M, 1>::bytes(),
                     squares = ProductSpace<M, SQUARES>::bytes();
        LAUNCH(run, begin_corrections<M>, chunks, THREADS, square, x);
        LAUNCH(run, walk_back<M>, dim3(heads, blocks_for(x.plan.m, TILE)), THREADS,
               (ProductSpace<M, 0>::bytes()), x);
        LAUNCH(run, value_gradients<M>, chunks, THREADS, square, x);
        LAUNCH(run, key_gradients<M>, chunks, THREADS, squares, x);
    });
}

void delta_rule_decay_gradient(const Run *run, const DeltaCall &x, float *to, bool add,
                               float *ends) {
    const DeltaPlan p = x.plan;
    const float *const differences = x.differences;
    end_products(run, x.states, x.dstates, x.end, p.B * p.H, p.chunks, p.state, ends);
    for_each(run, p.B * p.H * p.chunks, [=] __device__(int64_t n) {
        const int64_t head = n / p.chunks, token = n % p.chunks * TILE;
        float *const row = to + (head / p.H * p.L + token) * p.H + head % p.H;
        float sum = ends[n];
        for (int64_t i = TILE - 1; i >= 0; i--) {
            if (token + i >= p.L) continue;
            sum += differences[n * TILE + i];
            put(row + i * p.H, sum, add);
        }
    });
}
