/* The states between chunks, and their gradients: every chunk's addition by a product of its own,
 * then one pass along the chunks for each number of a state. */
#include "engine/ops/mlstm/mlstm.cuh"

/* Tile (rows a, columns c) of the sum over a chunk's tokens of key_weight(t) key[t][a] value[t][c],
 * and in the first column of tiles n[a], with n_weight instead. */
template <class M, class Key, class N>
__device__ static inline void add_chunk(const MlstmCall &x, const ChunkRows &keys,
                                        const ChunkRows &values, float *to, const Key &key_weight,
                                        const N &n_weight) {
    const ChunkSpace<M, 0> space;
    const int a0 = (int)blockIdx.y * T, c0 = (int)blockIdx.z * T;
    Sums sums = {};
    add_product<M, true, true>(
        sums, space, keys.rows, [&](int a, int t) { return key_weight(t) * keys.at(t, a0 + a); },
        [&](int c, int t) { return values.at(t, c0 + c); });
    each_result(sums, [&](int a, int c, float sum) {
        if (a0 + a < x.plan.dk && c0 + c < x.plan.dv) to[(a0 + a) * x.plan.dv + c0 + c] = sum;
    });
    if (c0 != 0) return;
    for (int a = (int)threadIdx.x; a < T && a0 + a < x.plan.dk; a += THREADS) {
        float sum = 0;
        for (int t = 0; t < keys.rows; t++) sum += n_weight(t) * keys.at(t, a0 + a);
        to[x.plan.dk * x.plan.dv + a0 + a] = sum;
    }
}

/* Of chunk s to the state behind it. */
template <class M> KERNEL void __launch_bounds__(THREADS) leave(MlstmCall x) {
    const int64_t states = x.plan.chunks - 1, unit = blockIdx.x / states, s = blockIdx.x % states;
    const MlstmChunk c(x, unit, s);
    __shared__ MlstmFactors f;
    f.load(x, c);
    __syncthreads();
    const auto weight = [&](int t) { return f.leaving[t]; };
    add_chunk<M>(x, keys_of(x, c, x.k), values_of(x, c, x.v),
                 x.states + (unit * states + s) * x.plan.state, weight, weight);
}

/* Of chunk s + 1 to the gradient of the state before it. */
template <class M> KERNEL void __launch_bounds__(THREADS) enter(MlstmCall x) {
    const int64_t states = x.plan.chunks - 1, unit = blockIdx.x / states, s = blockIdx.x % states;
    const MlstmChunk c(x, unit, s + 1);
    __shared__ MlstmFactors f;
    f.load(x, c);
    __syncthreads();
    add_chunk<M>(
        x, keys_of(x, c, x.q), values_of(x, c, x.dh),
        x.dstates + (unit * states + s) * x.plan.state,
        [&](int t) { return f.entry[t] * f.inverse[t]; },
        [&](int t) { return f.entry[t] * f.to_dot[t]; });
}

/* to[s] += keep(chunk) to[the state before or behind], along the chunks. */
template <bool BACK> static void run_along(const Run *run, const MlstmCall &call, float *to) {
    const MlstmCall x = call;
    const int64_t states = x.plan.chunks - 1, numbers = x.plan.dk * (x.plan.dv + 1);
    const Divisor of_state = divide_by(numbers);
    for_each(run, x.plan.B * x.plan.H * numbers, [=] __device__(int64_t i) {
        const int64_t unit = of_state.of(i), at = i - unit * numbers;
        float *own = to + unit * states * x.plan.state + at, sum = 0;
        for (int64_t n = 0; n < states; n++) {
            const int64_t s = BACK ? states - 1 - n : n;
            /* A state behind chunk s, made of that before it; its gradient, of that behind s + 1.
             * Where there is none the sum is zero. */
            const MlstmChunk c(x, unit, BACK ? s + 1 : s);
            sum = c.note(MLSTM_NOTE_ENTRY, c.count - 1) * sum + own[s * x.plan.state];
            own[s * x.plan.state] = sum;
        }
    });
}

static dim3 tiles(const MlstmCall &x) {
    return dim3((unsigned)(x.plan.B * x.plan.H * (x.plan.chunks - 1)), blocks_for(x.plan.dk, T),
                blocks_for(x.plan.dv, T));
}

void mlstm_forward_states(const Run *run, const MlstmCall &x) {
    if (x.plan.chunks < 2) return;
    with_products(run, [&]<class M>() {
        LAUNCH(run, leave<M>, tiles(x), THREADS, (ChunkSpace<M, 0>::bytes()), x);
    });
    run_along<false>(run, x, x.states);
}

void mlstm_backward_states(const Run *run, const MlstmCall &x) {
    if (x.plan.chunks < 2) return;
    with_products(run, [&]<class M>() {
        LAUNCH(run, enter<M>, tiles(x), THREADS, (ChunkSpace<M, 0>::bytes()), x);
    });
    run_along<true>(run, x, x.dstates);
}
