/* The step of decoding: one query a sequence over the rows of a cache that the pattern shows to it.
 * Channels lie in the lanes, and keys where scores become weights. Bound by reading those rows
 * once. */
#include <omp.h>

#include "engine/ops/attention/attention_single.h"
#include "engine/ops/pattern_attention/pattern_attention_kernels.h"
#include "engine/ops/pattern_attention/pattern_attention_tile.h"

/* One head of one sequence. */
typedef struct StepHead {
    const PatternAttention *attributes;
    Relative relative;
    int64_t h, position, rows, row; /* of the cache */
    const float *q, *k, *v;
} StepHead;

static vfloat row_product(const float *a, const float *bias, const float *b, int64_t width) {
    vfloat sum = v_zero();
    for (int64_t c = 0; c < width; c += LANES) {
        vfloat x = v_load_part(a + c, width - c);
        if (bias) x += v_load_part(bias + c, width - c);
        sum += x * v_load_part(b + c, width - c);
    }
    return sum;
}

/* Scores of the keys with numbers n .. n+count-1, one a lane; -inf in the other lanes. places:
 * their rows. */
static vfloat score_keys(const StepHead *o, int64_t n, int64_t count, int64_t *places) {
    const PatternAttention *a = o->attributes;
    vfloat s[LANES];
    for (int64_t j = 0; j < LANES; j++) {
        s[j] = v_zero();
        if (j >= count) continue;
        const int64_t key = pattern_key(a, o->h, o->position, n + j);
        places[j] = key % o->rows * o->row;
        s[j] = row_product(o->q, o->relative.u, o->k + places[j], a->width);
        if (o->relative.r)
            s[j] += row_product(o->q, o->relative.v,
                                o->relative.r + (o->position - key) * o->relative.row, a->width);
    }
    const vfloat sums = sum_of_rows(s) * (float)(1.0 / sqrt((double)a->width));
    return v_select(lane_numbers() < (int32_t)count, sums, v_set(-INFINITY));
}

static void add_values(const StepHead *o, float *out, float keep, const float *p,
                       const int64_t *places, int64_t count) {
    const int64_t width = o->attributes->width;
    for (int64_t c = 0; c < width; c += LANES) {
        vfloat sum[2] = {v_load_part(out + c, width - c) * keep, v_zero()};
        for (int64_t j = 0; j < count; j++)
            sum[j % 2] += p[j] * v_load_part(o->v + places[j] + c, width - c);
        v_store_part(out + c, sum[0] + sum[1], width - c);
    }
}

static float attend(const StepHead *o, float *out) {
    const PatternAttention *a = o->attributes;
    const int64_t seen = pattern_count(a, o->position);
    SingleSoftmax softmax = {-INFINITY, 0};
    float weights[KEYS];
    int64_t places[KEYS + LANES];
    memset(out, 0, (size_t)a->width * sizeof(float));
    for (int64_t first = 0; first < seen; first += KEYS) {
        const int64_t count = seen - first < KEYS ? seen - first : KEYS;
        vfloat top = v_set(-INFINITY);
        for (int64_t j = 0; j < count; j += LANES) {
            const vfloat s =
                score_keys(o, first + j, count - j < LANES ? count - j : LANES, places + j);
            v_store(weights + j, s);
            top = v_max(top, s);
        }
        const float keep = softmax_piece(&softmax, weights, count, top);
        add_values(o, out, keep, weights, places, count);
    }
    return softmax_end(&softmax, out, a->width);
}

void ISA(pattern_attention_step)(const OpCall *call, const Run *run) {
    const PatternAttention *a = call->attributes;
    const Tensor *q = call->in[PATTERN_Q], *cache = call->in[PATTERN_KV];
    const int64_t rows = extent(cache, 1), row = extent(cache, 2), d = a->width;
    const int64_t kv_heads = pattern_cache_heads(call), group = a->heads / kv_heads;
#pragma omp parallel for num_threads(run->threads) schedule(static) if (run->threads > 1)
    for (int64_t n = 0; n < extent(q, 0) * a->heads; n++) {
        const int64_t b = n / a->heads, h = n % a->heads;
        StepHead o = {.attributes = a,
                      .relative = relative_of(call, a, h),
                      .h = h,
                      .position = call->in[PATTERN_POSITION]->integers[0],
                      .rows = rows,
                      .row = row,
                      .q = q->data + b * extent(q, 2) + h * d,
                      .k = cache->data + b * rows * row + h / group * d};
        o.v = o.k + kv_heads * d;
        call->saved[0]->data[n] = attend(&o, call->out[0]->data + n * d);
    }
}
