/* A thread draws blocks of four random words and so handles four elements with each. */
#include "engine/ops/dropout/dropout.h"

#include "engine/cuda/elements.cuh"
#include "engine/cuda/philox.cuh"

enum { THREADS = 256, WORDS = FOUR, EACH = 4 /* blocks of a thread, for one key */ };

struct Mask {
    const float *x;
    float *y;
    int64_t n;
    const RunValues *values;
    uint64_t stream;
    uint32_t bound;
    bool all;
    float factor;
    bool accumulate;
};

/* What becomes of the four elements of a block. */
__device__ static inline Four masked(const Mask &m, const uint32_t key[2], uint64_t item,
                                     int64_t block, Four x) {
    uint32_t words[WORDS];
    const uint32_t counter[4] = {(uint32_t)block, (uint32_t)((uint64_t)block >> 32), (uint32_t)item,
                                 (uint32_t)(item >> 32)};
    philox_block(key, counter, words);
    for (int k = 0; k < WORDS; k++)
        x.of[k] = m.all || words[k] < m.bound ? m.factor * x.of[k] : 0.0f;
    return x;
}

KERNEL void __launch_bounds__(THREADS) mask(Mask m) {
    const int64_t first = (int64_t)blockIdx.x * THREADS * EACH + threadIdx.x;
    const int64_t last = first + (EACH - 1) * THREADS;
    uint32_t key[2];
    philox_key(m.values->seed, m.stream, key);
    const uint64_t item = m.values->pass;
    if ((last + 1) * WORDS <= m.n) {
        Four x[EACH];
        for (int k = 0; k < EACH; k++) x[k] = load<FOUR>(m.x + (first + k * THREADS) * WORDS);
        for (int k = 0; k < EACH; k++) x[k] = masked(m, key, item, first + k * THREADS, x[k]);
        for (int k = 0; k < EACH; k++) put(m.y + (first + k * THREADS) * WORDS, x[k], m.accumulate);
        return;
    }
#pragma unroll 1
    for (int64_t block = first; block <= last && block * WORDS < m.n; block += THREADS)
        put_some(m.y, block * WORDS, m.n,
                 masked(m, key, item, block, some(m.x, block * WORDS, m.n)), m.accumulate);
}

/* A thread has four channels of one sequence at STRETCH positions, and draws once for them. */
enum { STRETCH = 16 };
struct TiedMask {
    Mask own;
    int64_t L, D;
    Divisor blocks, stretches; /* of channels; of the positions of a sequence */
};

KERNEL void __launch_bounds__(THREADS) tied_mask(TiedMask m, int64_t n) {
    const int64_t i = global_thread();
    if (i >= n) return;
    const int64_t rest = m.blocks.of(i), block = i - rest * m.blocks.d;
    const int64_t b = m.stretches.of(rest), from = (rest - b * m.stretches.d) * STRETCH;
    const int64_t to = from + STRETCH < m.L ? from + STRETCH : m.L;
    uint32_t key[2];
    philox_key(m.own.values->seed, m.own.stream, key);
    Four ones;
    for (int e = 0; e < FOUR; e++) ones.of[e] = 1.0f;
    const Four factors = masked(m.own, key, m.own.values->pass, b * m.blocks.d + block, ones);
    const int64_t left = m.D - block * FOUR;
    for (int64_t t = from; t < to; t++) {
        const int64_t at = (b * m.L + t) * m.D + block * FOUR;
        if (m.D % FOUR == 0) { /* rows begin at multiples of 16 bytes */
            Four x = load<FOUR>(m.own.x + at);
            for (int e = 0; e < FOUR; e++) x.of[e] *= factors.of[e];
            put(m.own.y + at, x, m.own.accumulate);
        } else {
            for (int e = 0; e < FOUR && e < left; e++)
                put(m.own.y + at + e, m.own.x[at + e] * factors.of[e], m.own.accumulate);
        }
    }
}

static void launch_tied(const OpCall *call, const Run *run, const Mask &own) {
    const int64_t L = extent(call->in[0], -2), D = extent(call->in[0], -1);
    const int64_t blocks = dropout_blocks(D), stretches = (L + STRETCH - 1) / STRETCH;
    const TiedMask m = {own, L, D, divide_by(blocks), divide_by(stretches)};
    const int64_t n = rows_of(call->in[0]) / L * stretches * blocks;
    LAUNCH(run, tied_mask, blocks_for(n, THREADS), THREADS, 0, m, n);
}

static void apply(const OpCall *call, const Run *run, const float *x, float *y, bool accumulate) {
    const Dropout *attributes = static_cast<const Dropout *>(call->attributes);
    const int64_t n = tensor_size(call->in[0]);
    const double kept = run->training ? 1 - attributes->rate : 1;
    const Mask m = {x,
                    y,
                    n,
                    run_values(run),
                    stream_number("dropout") ^ (uint64_t)call->number,
                    dropout_bound(attributes),
                    !run->training,
                    (float)(1 / kept),
                    accumulate};
    if (attributes->tied && run->training)
        launch_tied(call, run, m);
    else
        LAUNCH(run, mask, blocks_for((n + WORDS - 1) / WORDS, THREADS * EACH), THREADS, 0, m);
}

static void forward(const OpCall *call, const Run *run) {
    apply(call, run, call->in[0]->data, call->out[0]->data, false);
}

static void backward(const OpCall *call, const Run *run) {
    float *const dx = gradient_of(call, 0);
    if (dx) apply(call, run, call->out[0]->gradient, dx, call->accumulate[0]);
}

CUDA_OP(dropout, {forward, backward}, NULL);
