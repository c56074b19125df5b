/* What does not depend on the state: the triangular system of every chunk is inverted, a block
 * each, and the inverse multiplied by keys and values. */
#include "engine/ops/delta_rule/delta_rule.cuh"

constexpr int BLOCK = 16; /* rows that a thread solves in registers */

/* (I + system)^-1 - I of a strictly lower triangle (C, C), in place, by blocks: a thread has a
 * column.
 * First the blocks on the diagonal by substitution, then row after row of the others,
 * T_row = -T_rowrow (A_row T_above). */
__device__ static inline void invert(float *system) {
    const int own = (int)threadIdx.x, corner = own / BLOCK * BLOCK;
    float t[BLOCK] = {};
    if (own < TILE)
#pragma unroll
        for (int i = 0; i < BLOCK; i++) {
            t[i] = corner + i == own;
#pragma unroll
            for (int k = 0; k < i; k++) t[i] -= system[(corner + i) * TILE + corner + k] * t[k];
        }
    __syncthreads();
    if (own < TILE)
#pragma unroll
        for (int i = 0; i < BLOCK; i++) system[(corner + i) * TILE + own] = t[i];
    for (int row = BLOCK; row < TILE; row += BLOCK) {
        float sums[BLOCK] = {};
        __syncthreads();
        for (int k = corner; own < row && k < row; k++) {
            const float above = system[k * TILE + own];
#pragma unroll
            for (int i = 0; i < BLOCK; i++) sums[i] += system[(row + i) * TILE + k] * above;
        }
        if (own < row)
#pragma unroll
            for (int i = 0; i < BLOCK; i++) {
                t[i] = 0;
#pragma unroll
                for (int k = 0; k <= i; k++) t[i] -= system[(row + i) * TILE + row + k] * sums[k];
            }
        __syncthreads();
        if (own < row)
#pragma unroll
            for (int i = 0; i < BLOCK; i++) system[(row + i) * TILE + own] = t[i];
    }
    if (own < TILE) system[own * TILE + own] = 0;
    __syncthreads();
}

template <class M> KERNEL void __launch_bounds__(THREADS) open_chunks(DeltaCall x) {
    __shared__ DeltaFactors factors;
    __shared__ float system[TILE * TILE];
    const DeltaPlan &p = x.plan;
    const ProductSpace<M, 0> space;
    DeltaChunk c(x, blockIdx.x / p.chunks, blockIdx.x % p.chunks);
    c.load(factors);
    __syncthreads();
    Sums triangle = {};
    key_triangle<M>(triangle, space, c);
    each_result(triangle, [&](int i, int j, float value) {
        system[i * TILE + j] = j < i ? value * c.beta[j] : 0.0f;
    });
    __syncthreads();
    invert(system);
    for (int i = (int)threadIdx.x; i < TILE * TILE; i += THREADS)
        x.inverse[c.place() * TILE * TILE + i] = system[i];
    const auto inverse = [&](int i, int j) { return system[i * TILE + j]; };
    for (int a0 = 0; a0 < p.d; a0 += TILE) {
        Sums sums = {};
        add_product<M, false, true>(sums, space, TILE, inverse, [&](int a, int i) {
            return c.decays.since(i) * c.k(i, a0 + a);
        });
        each_result(sums, [&](int i, int a, float value) {
            if (a0 + a < p.d)
                x.reads[(c.place() * TILE + i) * p.d + a0 + a] =
                    value + c.decays.since(i) * c.k(i, a0 + a);
        });
    }
    const MatrixRows v = c.values(x.v);
    for (int c0 = 0; c0 < p.m; c0 += TILE) {
        Sums sums = {};
        add_product<M, false, true>(sums, space, TILE, inverse,
                                    [&](int e, int i) { return v.at(i, c0 + e); });
        each_result(sums, [&](int i, int e, float value) {
            if (i < c.count && c0 + e < p.m)
                x.errors[c.at(i, p.m, c0 + e)] = value + v.at(i, c0 + e);
        });
    }
}

void delta_rule_open(const Run *run, const DeltaCall &x) {
    with_products(run, [&]<class M>() {
        LAUNCH(run, open_chunks<M>, (unsigned)(x.plan.B * x.plan.H * x.plan.chunks), THREADS,
               (ProductSpace<M, 0>::bytes()), x);
    });
}
