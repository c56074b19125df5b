#include <math.h>
#include <stdlib.h>

#include "engine/memory.h"
#include "engine/ops/pattern_attention/pattern_attention.h"

/* One query: where its keys are, in order of their numbers; memory, r, u and v may be NULL. */
typedef struct Query {
    const PatternAttention *a;
    int64_t h, i, row, memory_row, cache, count; /* cache: its rows, 0: none */
    int64_t values;                              /* how far behind keys */
    const double *q, *k, *memory, *r, *u, *v;
    const int64_t *positions;
} Query;

static const double *key_of(const Query *query, int64_t n) {
    const int64_t j = query->positions[n];
    const bool before = query->memory && j < query->i / query->a->length * query->a->length;
    if (before) return query->memory + j * query->memory_row;
    return query->k + (query->cache ? j % query->cache : j) * query->row;
}

static double score_of(const Query *query, int64_t n) {
    const int64_t d = query->a->width, width = query->a->heads * d;
    const double *k = key_of(query, n);
    double score = 0;
    for (int64_t c = 0; c < d; c++) {
        score += (query->q[c] + (query->r ? query->u[c] : 0)) * k[c];
        if (query->r)
            score += (query->q[c] + query->v[c]) *
                     query->r[(query->i - query->positions[n]) * width + c];
    }
    return score / sqrt((double)d);
}

static void attend(const Query *query, double *weights, double *out) {
    const int64_t d = query->a->width;
    double largest = -INFINITY, sum = 0;
    for (int64_t n = 0; n < query->count; n++) {
        weights[n] = score_of(query, n);
        largest = fmax(largest, weights[n]);
    }
    for (int64_t n = 0; n < query->count; n++) sum += weights[n] = exp(weights[n] - largest);
    for (int64_t c = 0; c < d; c++) out[c] = 0;
    for (int64_t n = 0; n < query->count; n++)
        for (int64_t c = 0; c < d; c++)
            out[c] += weights[n] / sum * key_of(query, n)[query->values + c];
}

void pattern_attention_reference(const ReferenceCall *reference) {
    const OpCall *call = reference->call;
    const PatternAttention *a = call->attributes;
    const Tensor *position = call->inputs > PATTERN_POSITION ? call->in[PATTERN_POSITION] : NULL;
    const Tensor *q = call->in[PATTERN_Q], *kv = call->in[pattern_kv_input(call)];
    const int64_t L = extent(q, 1), d = a->width, width = a->heads * d;
    const int64_t longest = position ? position->host_integers[0] + 1 : L;
    double *weights = memory_take((size_t)longest * sizeof *weights);
    int64_t *positions = memory_take((size_t)longest * sizeof *positions);
    const double *memory = reference->in[PATTERN_MEMORY];
    for (int64_t b = 0; b < extent(q, 0); b++)
        for (int64_t h = 0; h < a->heads; h++)
            for (int64_t i = 0; i < L; i++) {
                const int64_t row = b * L + i;
                Query query = {.a = a, .h = h, .i = position ? longest - 1 : i};
                const int64_t kv_heads = position ? pattern_cache_heads(call) : a->heads;
                query.row = extent(kv, 2);
                query.values = kv_heads * d;
                query.memory_row = 2 * width;
                query.cache = position ? extent(kv, 1) : 0;
                query.q = reference->in[PATTERN_Q] + row * extent(q, 2) + h * d;
                query.k = reference->in[pattern_kv_input(call)] + b * extent(kv, 1) * query.row +
                          pattern_kv_column(call) + h / (a->heads / kv_heads) * d;
                if (memory) query.memory = memory + b * L * 2 * width + h * d;
                if (call->in[PATTERN_R]) {
                    query.r = reference->in[PATTERN_R] + h * d;
                    query.u = reference->in[PATTERN_U] + h * d;
                    query.v = reference->in[PATTERN_V] + h * d;
                }
                query.count = pattern_count(a, query.i);
                for (int64_t n = 0; n < query.count; n++)
                    positions[n] = pattern_key(a, h, query.i, n);
                query.positions = positions;
                attend(&query, weights, reference->out[0] + row * width + h * d);
            }
    free(positions);
    free(weights);
}
