/* AdamW over all parameters at once, and the norm that clips it. The norm stays on the device: the
 * update reads it there, and the host need not wait. Sums have a fixed order. */
#include "engine/cuda/activation.cuh"
#include "engine/cuda/backend.h"

enum { THREADS = 256, V = 4 }; /* parts begin and end at multiples of 16 numbers */

/* sums += squares of `count` fours that lie so far apart. */
template <int COUNT>
__device__ static inline void add_squares(const float *__restrict__ from, int64_t apart,
                                          double sums[V]) {
    Lanes<V> some[COUNT];
    for (int k = 0; k < COUNT; k++) some[k] = load<V>(from + k * apart);
    for (int k = 0; k < COUNT; k++)
        for (int e = 0; e < V; e++) sums[e] += (double)some[k].of[e] * (double)some[k].of[e];
}
KERNEL void __launch_bounds__(THREADS)
    norm_partials(const float *__restrict__ gradients, int64_t size, double *partials) {
    __shared__ double space[WARP];
    /* of blocks that are not needed the sum is zero */
    const int64_t apart = (int64_t)NORM_BLOCKS * THREADS * V;
    double sums[V] = {};
    int64_t i = global_thread() * V;
#pragma unroll 1
    for (; i + apart < size; i += 2 * apart) add_squares<2>(gradients + i, apart, sums);
    if (i < size) add_squares<1>(gradients + i, apart, sums);
    const double sum = block_sum((sums[0] + sums[1]) + (sums[2] + sums[3]), space);
    if (threadIdx.x == 0) partials[blockIdx.x] = sum;
}

KERNEL void norm_total(const double *__restrict__ partials, unsigned count, double clip,
                       NormResult *result) {
    __shared__ double space[WARP];
    const double sum = block_sum(threadIdx.x < count ? partials[threadIdx.x] : 0, space);
    if (threadIdx.x != 0) return;
    const double norm = sqrt(sum);
    result->norm = norm;
    result->scale = clip > 0 && norm > clip ? (float)(clip / norm) : 1.0f;
    if (!(norm <= 1.7e308)) result->broken = 1; /* infinite or not-a-number */
}

void launch_norm(const Run *run, const AdamWFlat *flat, double clip) {
    CudaState *state = state_of(run);
    const unsigned needed = max(blocks_for(flat->normed, THREADS * V), 1u);
    const unsigned blocks = min(needed, (unsigned)NORM_BLOCKS);
    LAUNCH(run, norm_partials, blocks, THREADS, 0, flat->gradients, flat->normed, state->partials);
    LAUNCH(run, norm_total, 1, NORM_BLOCKS, 0, state->partials, blocks, clip, state->norm);
}

/* A part's constants, rounded once from double as the CPU does (engine/adamw_cpu.c). */
struct Constants {
    int64_t to; /* first element of the next part */
    float keep1, take1, keep2, take2, shrink, rate, root, epsilon;
    int frozen, averages;
};

enum { PARTS = 48 }; /* that fit the arguments of one launch: 4 KiB */
struct Parts {
    Constants part[PARTS];
    int64_t from;
    int count;
};

/* Four numbers of a running average. */
__device__ static inline void average(float *value, float *statistic, float keep, float take,
                                      bool broken) {
    Lanes<V> x = load<V>(value);
    const Lanes<V> own = load<V>(statistic);
    for (int e = 0; e < V; e++) x.of[e] = x.of[e] * keep + own.of[e] * take;
    store<V>(statistic, Lanes<V>{});
    if (!broken) store<V>(value, x);
}

KERNEL void __launch_bounds__(THREADS)
    update(float *__restrict__ values, float *__restrict__ gradients, float *__restrict__ moment1,
           float *__restrict__ moment2, Parts parts, const NormResult *norm) {
    const int64_t i = parts.from + global_thread() * V;
    if (i >= parts.part[parts.count - 1].to) return;
    int k = 0;
    for (int high = parts.count - 1; k < high;) { /* the part that holds i */
        const int middle = (k + high) / 2;
        if (i < parts.part[middle].to)
            high = middle;
        else
            k = middle + 1;
    }
    const Constants c = parts.part[k];
    if (c.frozen) return;
    if (c.averages) {
        average(values + i, gradients + i, c.keep1, c.take1, norm->broken);
        return;
    }
    const Lanes<V> gradient = load<V>(gradients + i);
    Lanes<V> m = load<V>(moment1 + i), v = load<V>(moment2 + i), value = load<V>(values + i);
    const bool broken = norm->broken;
    const float scale = norm->scale;
    loads_asked_for();
    store<V>(gradients + i, Lanes<V>{});
    if (broken) return;
    for (int e = 0; e < V; e++) {
        const float g = gradient.of[e] * scale;
        m.of[e] = m.of[e] * c.keep1 + g * c.take1;
        v.of[e] = v.of[e] * c.keep2 + g * g * c.take2;
        const float size = fast_root(v.of[e]) * c.root + c.epsilon;
        value.of[e] = value.of[e] * c.shrink - c.rate * m.of[e] * fast_reciprocal(size);
    }
    store<V>(moment1 + i, m);
    store<V>(moment2 + i, v);
    store<V>(values + i, value);
}

static Constants constants_of(const AdamWPart *part) {
    const AdamW *s = &part->settings;
    const double step = (double)s->step;
    Constants c = {};
    c.to = part->to;
    c.keep1 = part->averages ? part->keep : (float)s->beta1;
    c.take1 = part->averages ? part->take : (float)(1 - s->beta1);
    c.keep2 = (float)s->beta2;
    c.take2 = (float)(1 - s->beta2);
    c.shrink = (float)(1 - s->rate * s->decay);
    c.rate = (float)(s->rate / (1 - pow(s->beta1, step)));
    c.root = (float)(1 / sqrt(1 - pow(s->beta2, step)));
    c.epsilon = (float)s->epsilon;
    c.frozen = part->frozen;
    c.averages = part->averages;
    return c;
}

void launch_update(const Run *run, const AdamWFlat *flat, const AdamWPart *parts, int count) {
    for (int first = 0; first < count; first += PARTS) {
        Parts some = {};
        some.from = parts[first].from;
        some.count = count - first < PARTS ? count - first : PARTS;
        for (int k = 0; k < some.count; k++) some.part[k] = constants_of(&parts[first + k]);
        const int64_t size = some.part[some.count - 1].to - some.from;
        if (size == 0) continue;
        LAUNCH(run, update, blocks_for(size, THREADS * V), THREADS, 0, flat->values,
               flat->gradients, flat->moment1, flat->moment2, some, state_of(run)->norm);
    }
}
