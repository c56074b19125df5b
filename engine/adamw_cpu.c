#include "engine/adamw.h"

#include <math.h>

#include "engine/vmath.h"

/* Elements that one thread handles at a time. */
enum { BLOCK = 1 << 13 };

/* The step's constants, rounded once from double. */
typedef struct Step {
    float keep1, take1, keep2, take2; /* beta1, 1 - beta1, beta2, 1 - beta2 */
    float shrink;                     /* 1 - rate decay */
    float rate;                       /* rate / (1 - beta1^step) */
    float root;                       /* 1 / sqrt(1 - beta2^step) */
    float epsilon, gradient_scale;
} Step;

static Step step_of(const AdamW *settings) {
    const double step = (double)settings->step;
    return (Step){.keep1 = (float)settings->beta1,
                  .take1 = (float)(1 - settings->beta1),
                  .keep2 = (float)settings->beta2,
                  .take2 = (float)(1 - settings->beta2),
                  .shrink = (float)(1 - settings->rate * settings->decay),
                  .rate = (float)(settings->rate / (1 - pow(settings->beta1, step))),
                  .root = (float)(1 / sqrt(1 - pow(settings->beta2, step))),
                  .epsilon = (float)settings->epsilon,
                  .gradient_scale = (float)settings->gradient_scale};
}

ALWAYS_INLINE void update_vector(const Step *step, const AdamWRange *range, bool zero, int64_t i,
                                 int64_t n) {
    const vfloat g = v_load_part(range->gradients + i, n) * step->gradient_scale;
    const vfloat m = v_load_part(range->moment1 + i, n) * step->keep1 + g * step->take1;
    const vfloat v = v_load_part(range->moment2 + i, n) * step->keep2 + g * g * step->take2;
    const vfloat p = v_load_part(range->values + i, n) * step->shrink;
    v_store_part(range->moment1 + i, m, n);
    v_store_part(range->moment2 + i, v, n);
    v_store_part(range->values + i, p - step->rate * m / (v_sqrt(v) * step->root + step->epsilon),
                 n);
    if (zero) v_store_part(range->gradients + i, v_zero(), n);
}

ALWAYS_INLINE void update_block(const Step *step, const AdamWRange *range, bool zero, int64_t from,
                                int64_t to) {
    int64_t i = from;
    for (; i + LANES <= to; i += LANES) update_vector(step, range, zero, i, LANES);
    if (i < to) update_vector(step, range, zero, i, to - i);
}

static void update(const AdamW *settings, AdamWRange range, int threads) {
    const Step step = step_of(settings);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t from = 0; from < range.n; from += BLOCK) {
        const int64_t to = range.n - from < BLOCK ? range.n : from + BLOCK;
        if (settings->zero_gradients)
            update_block(&step, &range, true, from, to);
        else
            update_block(&step, &range, false, from, to);
    }
}

typedef double vdouble __attribute__((vector_size(4 * LANES)));
typedef float vhalf __attribute__((vector_size(2 * LANES)));

static double sum_chunk(const float *data, int64_t n) {
    enum { HALF = LANES / 2, SUMS = 4 };
    vdouble sum[SUMS] = {0};
    int64_t i = 0;
    for (; i + SUMS * HALF <= n; i += SUMS * HALF)
        for (int s = 0; s < SUMS; s++) {
            vhalf x;
            memcpy(&x, data + i + s * HALF, sizeof x);
            const vdouble wide = __builtin_convertvector(x, vdouble);
            sum[s] += wide * wide;
        }
    const vdouble all = (sum[0] + sum[1]) + (sum[2] + sum[3]);
    double total = 0;
    for (int lane = 0; lane < HALF; lane++) total += all[lane];
    for (; i < n; i++) total += (double)data[i] * (double)data[i];
    return total;
}

/* Always the same number of chunks, added in order. */
static double squares(const float *data, int64_t n, int threads) {
    enum { CHUNKS = 64 };
    const int64_t chunk = (n + CHUNKS * LANES - 1) / (CHUNKS * LANES) * LANES;
    double sums[CHUNKS];
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int c = 0; c < CHUNKS; c++) {
        const int64_t from = c * chunk, left = n - from;
        sums[c] = left <= 0 ? 0 : sum_chunk(data + from, left < chunk ? left : chunk);
    }
    double total = 0;
    for (int c = 0; c < CHUNKS; c++) total += sums[c];
    return total;
}

extern const AdamWKernels ISA(adamw);
const AdamWKernels ISA(adamw) = {update, squares};
