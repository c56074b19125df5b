#include <math.h>
#include <stdlib.h>

#include "engine/memory.h"
#include "engine/ops/attention/attention.h"

static double factor_of(const AttentionDropout *dropout, int64_t row, int64_t j) {
    if (!dropout->threshold) return 1;
    const uint32_t counter[4] = {(uint32_t)row, (uint32_t)(j / 8), (uint32_t)dropout->item,
                                 (uint32_t)(dropout->item >> 32)};
    uint32_t words[4];
    philox(dropout->key, counter, words);
    const uint32_t bits = words[j / 2 % 4] >> (j % 2 * 16) & 0xFFFFu;
    return bits < dropout->threshold ? 0 : 65536.0 / (65536.0 - dropout->threshold);
}

/* One query: scores, their softmax, the weighted mean of the values. */
static void attend(const AttentionView *view, const AttentionDropout *dropout, int64_t row,
                   int64_t seen, const double *q, const double *k, const double *v, double *weights,
                   double *out) {
    const int64_t d = view->width;
    double largest = -INFINITY, sum = 0;
    for (int64_t j = 0; j < seen; j++) {
        weights[j] = 0;
        for (int64_t c = 0; c < d; c++) weights[j] += q[c] * k[j * view->k_row + c];
        weights[j] /= sqrt((double)d);
        largest = fmax(largest, weights[j]);
    }
    for (int64_t j = 0; j < seen; j++) {
        weights[j] = exp(weights[j] - largest);
        sum += weights[j];
    }
    for (int64_t c = 0; c < d; c++) out[c] = 0;
    for (int64_t j = 0; j < seen; j++) {
        const double weight = weights[j] / sum * factor_of(dropout, row, j);
        for (int64_t c = 0; c < d; c++) out[c] += weight * v[j * view->v_row + c];
    }
}

void attention_reference(const ReferenceCall *reference) {
    const AttentionView view = attention_view(reference->call);
    const AttentionDropout dropout = attention_dropout(reference->call, reference->run);
    const int64_t d = view.width;
    double *weights = memory_take((size_t)(view.keys + 1) * sizeof *weights);
    for (int64_t b = 0; b < view.batch; b++)
        for (int64_t h = 0; h < view.heads; h++) {
            const int64_t kv = h / view.group * d;
            const double *q = reference->in[view.q_input] + view.q_column + h * d;
            const double *k =
                reference->in[view.k_input] + view.k_column + b * view.keys * view.k_row + kv;
            const double *v =
                reference->in[view.v_input] + view.v_column + b * view.keys * view.v_row + kv;
            for (int64_t i = 0; i < view.queries; i++) {
                const int64_t row = b * view.queries + i;
                int64_t seen = attention_keys(&view, b);
                if (view.causal && i + view.offset + 1 < seen) seen = i + view.offset + 1;
                attend(&view, &dropout, (b * view.heads + h) * view.queries + i, seen,
                       q + row * view.q_row, k, v, weights,
                       reference->out[0] + row * view.heads * d + h * d);
            }
        }
    free(weights);
}
