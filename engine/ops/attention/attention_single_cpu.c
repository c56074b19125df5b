/* Forward for one query a sequence, as in decoding: the query would fill one lane of a tile only,
 * so here channels lie in the lanes, and keys where scores become weights. Bound by reading K and V
 * once. */
#include <omp.h>

#include "engine/ops/attention/attention_kernels.h"
#include "engine/ops/attention/attention_single.h"

/* Scores of `count` <= LANES keys, one a lane; -inf in the other lanes. */
static vfloat score_keys(const AttentionView *view, const float *q, const float *k, int64_t count) {
    const int64_t width = view->width;
    vfloat s[LANES];
    for (int64_t j = 0; j < LANES; j++) {
        s[j] = v_zero();
        for (int64_t c = 0; c < width && j < count; c += LANES)
            s[j] += v_load_part(q + c, width - c) * v_load_part(k + j * view->k_row + c, width - c);
    }
    return v_select(lane_numbers() < (int32_t)count, sum_of_rows(s) * view->scale,
                    v_set(-INFINITY));
}

/* O = O keep + sum_j p_j V_j, one vector of channels at a time in four sums. */
static void add_values(float *o, float keep, const float *p, const float *v, int64_t v_row,
                       int64_t count, int64_t width) {
    for (int64_t c = 0; c < width; c += LANES) {
        vfloat sum[4] = {v_load_part(o + c, width - c) * keep};
        int64_t j = 0;
        for (; j + 4 <= count; j += 4)
            for (int r = 0; r < 4; r++)
                sum[r] += p[j + r] * v_load_part(v + (j + r) * v_row + c, width - c);
        for (; j < count; j++) sum[0] += p[j] * v_load_part(v + j * v_row + c, width - c);
        v_store_part(o + c, (sum[0] + sum[1]) + (sum[2] + sum[3]), width - c);
    }
}

/* One query over its `seen` keys; returns the log-sum-exp, base 2. */
static float attend(const AttentionView *view, const float *q, const float *k, const float *v,
                    int64_t seen, float *o, float *weights) {
    const int64_t d = view->width;
    SingleSoftmax softmax = {-INFINITY, 0};
    memset(o, 0, (size_t)d * sizeof(float));
    for (int64_t first = 0; first < seen; first += KEYS) {
        const int64_t count = seen - first < KEYS ? seen - first : KEYS;
        vfloat top = v_set(-INFINITY);
        for (int64_t j = 0; j < count; j += LANES) {
            const vfloat s = score_keys(view, q, k + (first + j) * view->k_row,
                                        count - j < LANES ? count - j : LANES);
            v_store(weights + j, s);
            top = v_max(top, s);
        }
        const float keep = softmax_piece(&softmax, weights, count, top);
        add_values(o, keep, weights, v + first * view->v_row, view->v_row, count, d);
    }
    return seen > 0 ? softmax_end(&softmax, o, d) : INFINITY;
}

void ISA(attention_forward_single)(const OpCall *call, const Run *run) {
    const AttentionView view = attention_view(call);
    const int64_t d = view.width;
    const float *q = call->in[view.q_input]->data + view.q_column;
    const float *k = call->in[view.k_input]->data + view.k_column;
    const float *v = call->in[view.v_input]->data + view.v_column;
#pragma omp parallel for num_threads(run->threads) schedule(static) if (run->threads > 1)
    for (int64_t n = 0; n < view.batch * view.heads; n++) {
        const int64_t b = n / view.heads, h = n % view.heads, kv = h / view.group * d;
        int64_t seen = attention_keys(&view, b);
        if (view.causal && view.offset + 1 < seen) seen = view.offset + 1;
        call->saved[0]->data[n] =
            attend(&view, q + b * view.q_row + h * d, k + b * view.keys * view.k_row + kv,
                   v + b * view.keys * view.v_row + kv, seen, call->out[0]->data + n * d,
                   (float *)call->scratch + omp_get_thread_num() * KEYS);
    }
}
