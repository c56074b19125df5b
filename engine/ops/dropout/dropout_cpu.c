/* Bound by the ten rounds of Philox: some 30 integer instructions per vector of elements. */
#include "engine/ops/dropout/dropout.h"

#include "engine/gradient_simd.h"
#include "engine/philox_simd.h"

/* Elements that one thread handles at a time; a multiple of what one draw covers. */
enum { BLOCK = 1 << 14 };

typedef struct Mask {
    PhiloxKeys keys;
    uint32_t bound;
    uint64_t item;
    float factor;
    bool active;
} Mask;

static Mask mask_of(const OpCall *call, const Run *run) {
    const Dropout *attributes = call->attributes;
    Mask mask = {.bound = dropout_bound(attributes),
                 .item = run->pass,
                 .factor = (float)(1 / (1 - attributes->rate)),
                 .active = run->training};
    uint32_t key[2];
    dropout_key(call, run, key);
    mask.keys = philox_keys(key);
    return mask;
}

/* Elements i .. i + n - 1, at most PHILOX_WORDS, of target = mask x. */
ALWAYS_INLINE void apply_words(const Mask *mask, const float *x, GradientTarget target, int64_t i,
                               int64_t n) {
    vword words[2];
    v_philox(&mask->keys, mask->item, (uint64_t)i / 4, words);
    for (int half = 0; half < 2 && half * LANES < n; half++) {
        const int64_t at = i + half * LANES, left = n - half * LANES;
        const vint kept = (vint)(words[half] < mask->bound);
        const vfloat value = v_load_part(x + at, left) * mask->factor;
        v_deliver(target, at, v_select(kept, value, v_zero()), left);
    }
}

static void apply_block(const Mask *shared, const float *x, GradientTarget target, int64_t from,
                        int64_t to) {
    const Mask copy = *shared, *mask = &copy; /* no store can reach the copy */
    int64_t i = from;
    if (!mask->active) {
        for (; i < to; i += LANES) v_deliver(target, i, v_load_part(x + i, to - i), to - i);
        return;
    }
    for (; i + PHILOX_WORDS <= to; i += PHILOX_WORDS) apply_words(mask, x, target, i, PHILOX_WORDS);
    if (i < to) apply_words(mask, x, target, i, to - i);
}

/* factors (B, D): 1 / (1 - rate) where a channel of a sequence is kept, else 0. */
static void draw_factors(const Mask *mask, int64_t B, int64_t D, float *factors, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t b = 0; b < B; b++)
        for (int64_t d = 0; d < D; d += PHILOX_WORDS) {
            vword words[2];
            v_philox(&mask->keys, mask->item, (uint64_t)(b * dropout_blocks(D) + d / 4), words);
            for (int half = 0; half < 2 && d + half * LANES < D; half++) {
                const int64_t at = d + half * LANES;
                const vint kept = (vint)(words[half] < mask->bound);
                v_store_part(factors + b * D + at, v_select(kept, v_set(mask->factor), v_zero()),
                             D - at);
            }
        }
}

static void apply_tied(const OpCall *call, const Run *run, const Mask *mask, const float *x,
                       GradientTarget target) {
    const Tensor *in = call->in[0];
    const int64_t L = extent(in, -2), D = extent(in, -1), rows = rows_of(in);
    float *factors = call->scratch;
    draw_factors(mask, rows / L, D, factors, run->threads);
#pragma omp parallel for num_threads(run->threads) schedule(static)
    for (int64_t row = 0; row < rows; row++)
        for (int64_t d = 0; d < D; d += LANES)
            v_deliver(target, row * D + d,
                      v_load_part(x + row * D + d, D - d) *
                          v_load_part(factors + row / L * D + d, D - d),
                      D - d);
}

static void apply(const OpCall *call, const Run *run, const float *x, GradientTarget target) {
    const Mask mask = mask_of(call, run);
    const int64_t n = tensor_size(call->in[0]);
    if (mask.active && ((const Dropout *)call->attributes)->tied) {
        apply_tied(call, run, &mask, x, target);
        return;
    }
#pragma omp parallel for num_threads(run->threads) schedule(static)
    for (int64_t from = 0; from < n; from += BLOCK)
        apply_block(&mask, x, target, from, n - from < BLOCK ? n : from + BLOCK);
}

static void forward(const OpCall *call, const Run *run) {
    apply(call, run, call->in[0]->data, (GradientTarget){call->out[0]->data, false});
}

static void backward(const OpCall *call, const Run *run) {
    const GradientTarget target = gradient_target(call, 0);
    if (target.data) apply(call, run, call->out[0]->gradient, target);
}

const OpKernels ISA(dropout_cpu) = {forward, backward};
