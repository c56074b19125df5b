#include <math.h>
#include <stdlib.h>

#include "engine/memory.h"
#include "engine/ops/chunk_attention/chunk_attention.h"

typedef struct Row {
    const double *q, *k, *v; /* of the query, of the chunk's first key */
    int64_t i, seen;         /* place in the chunk; keys 0 .. seen-1 */
    double scale;
} Row;

static double bias_of(const ReferenceCall *call, int64_t i, int64_t j) {
    const ChunkAttention *a = call->call->attributes;
    if (j <= i) return call->in[CHUNK_BEHIND] ? call->in[CHUNK_BEHIND][i - j] : 0;
    return call->in[CHUNK_AHEAD] ? call->in[CHUNK_AHEAD][j - i - a->ahead_from] : 0;
}

static double element(AttentionFunction function, double x) {
    if (function == ATTENTION_LAPLACE)
        return 0.5 * erfc((LAPLACE_MEAN - x) / (LAPLACE_DEVIATION * sqrt(2)));
    if (function == ATTENTION_SQUARED_RELU) return x > 0 ? x * x : 0;
    return exp(x);
}

static void attend(const ReferenceCall *call, const ChunkView *view, Row row, double *y) {
    double *weight = memory_take((size_t)(row.seen + 1) * sizeof *weight), total = 0,
           most = -HUGE_VAL;
    for (int64_t j = 0; j < row.seen; j++) {
        double dot = 0;
        for (int64_t z = 0; z < view->Z; z++) dot += row.q[z] * row.k[j * view->Z + z];
        weight[j] = row.scale * dot + bias_of(call, row.i, j);
        most = fmax(most, weight[j]);
    }
    const bool softmax = view->function == ATTENTION_SOFTMAX;
    for (int64_t j = 0; j < row.seen; j++) {
        weight[j] = element(view->function, softmax ? weight[j] - most : weight[j]);
        total += weight[j];
    }
    for (int64_t h = 0; h < view->H; h++) y[h] = 0;
    for (int64_t j = 0; j < row.seen; j++)
        for (int64_t h = 0; h < view->H; h++)
            y[h] += (softmax ? weight[j] / total : weight[j]) * row.v[j * view->H + h];
    free(weight);
}

void chunk_attention_reference(const ReferenceCall *call) {
    const ChunkView view = chunk_view(call->call);
    const Tensor *lengths =
        call->call->inputs > CHUNK_LENGTHS ? call->call->in[CHUNK_LENGTHS] : NULL;
    for (int64_t b = 0; b < view.B; b++)
        for (int64_t t = 0; t < view.L; t++) {
            const int64_t first = t / view.size * view.size;
            int64_t i = t - first, end = view.keys - first;
            if (end > view.size) end = view.size;
            if (lengths && lengths->host_integers[b] - first < end)
                end = lengths->host_integers[b] < first ? 0 : lengths->host_integers[b] - first;
            if (view.step) i = call->call->in[CHUNK_POSITION]->host_integers[0] % view.size;
            const int64_t seen = view.causal && i + 1 < end ? i + 1 : end;
            const double visible = view.causal ? (double)(i + 1) : fmax(1, (double)end);
            const int64_t keys = b * view.keys + first;
            const Row row = {.q = call->in[CHUNK_Q] + (b * view.L + t) * view.Z,
                             .k = call->in[CHUNK_K] + keys * view.Z,
                             .v = call->in[CHUNK_V] + keys * view.H,
                             .i = i,
                             .seen = seen,
                             .scale = view.function == ATTENTION_SOFTMAX ? 1 / sqrt((double)view.Z)
                                                                         : 1 / visible};
            attend(call, &view, row, call->out[0] + (b * view.L + t) * view.H);
        }
}
