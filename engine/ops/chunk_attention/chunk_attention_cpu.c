/* Bound by the products: 2 (Z + H) operations a pair forward, 6 Z + 4 H backward, through the
 * engine's matrix product in the second-level cache; between them one pass over the scores of some
 * queries with one exponential a pair. Forward shares out tiles of queries, backward whole chunks:
 * the gradients of keys and values are sums over queries. */
#include <omp.h>

#include "engine/gradient_simd.h"
#include "engine/ops/chunk_attention/chunk_attention_plan.h"
#include "engine/vmath.h"

typedef struct Attend {
    ChunkView view;
    const float *q, *k, *v, *dy;
    const int32_t *lengths;
    float *y, *bias; /* biases by j - i + size - 1 */
    float *memory;   /* of all threads */
    int64_t rows, position;
    GradientTarget dq, dk, dv;
} Attend;

/* A chunk: its first token, tokens, keys that are not hidden. */
typedef struct Unit {
    int64_t number, b, first, count, end;
} Unit;

static Unit unit_of(const Attend *a, int64_t number) {
    const ChunkView *view = &a->view;
    Unit u = {.number = number, .b = number / view->chunks};
    u.first = number % view->chunks * view->size;
    const int64_t left = view->keys - u.first;
    u.count = u.end = left < view->size ? left : view->size;
    if (a->lengths && a->lengths[u.b] - u.first < u.end) u.end = a->lengths[u.b] - u.first;
    if (u.end < 0) u.end = 0;
    return u;
}

static int64_t seen_by(const Attend *a, const Unit *u, int64_t i) {
    return a->view.causal && i + 1 < u->end ? i + 1 : u->end;
}
static float scale_of(const Attend *a, const Unit *u, int64_t i) {
    if (a->view.function == ATTENTION_SOFTMAX) return a->view.scale;
    if (a->view.causal) return 1.0f / (float)(i + 1);
    return 1.0f / (float)(u->end > 1 ? u->end : 1);
}

static void make_bias(const OpCall *call, Attend *a) {
    const ChunkAttention *attributes = call->attributes;
    const Tensor *behind = call->in[CHUNK_BEHIND], *ahead = call->in[CHUNK_AHEAD];
    const int64_t n = a->view.size;
    memset(a->bias, 0, (size_t)chunk_bias_floats(&a->view) * sizeof *a->bias);
    for (int64_t d = 0; d < n && behind; d++) a->bias[n - 1 - d] = behind->data[d];
    for (int64_t d = 1; d < n && ahead; d++)
        a->bias[n - 1 + d] = ahead->data[d - attributes->ahead_from];
}

static Attend attend_of(const OpCall *call) {
    const Tensor *lengths = call->inputs > CHUNK_LENGTHS ? call->in[CHUNK_LENGTHS] : NULL;
    Attend a = {.view = chunk_view(call),
                .q = call->in[CHUNK_Q]->data,
                .k = call->in[CHUNK_K]->data,
                .v = call->in[CHUNK_V]->data,
                .dy = call->out[0]->gradient,
                .y = call->out[0]->data,
                .lengths = lengths ? lengths->host_integers : NULL,
                .bias = call->scratch};
    a.rows = chunk_rows(&a.view);
    a.memory = a.bias + chunk_bias_floats(&a.view);
    if (a.view.step) a.position = call->in[CHUNK_POSITION]->host_integers[0] % a.view.size;
    make_bias(call, &a);
    return a;
}

/* ---- a row of scores ---- */

ALWAYS_INLINE vfloat score_at(const float *row, const float *bias, float scale, int64_t j,
                              int64_t n) {
    return v_load_part(row + j, n) * scale + v_load_part(bias + j, n);
}

/* Weights in the place of products, for keys 0 .. seen-1. */
static void softmax_row(float *row, const float *bias, float scale, int64_t seen) {
    vfloat most = v_set(-__builtin_inff()), total = v_zero();
    for (int64_t j = 0; j < seen; j += LANES) {
        const vfloat x = score_at(row, bias, scale, j, seen - j);
        v_store_part(row + j, x, seen - j);
        most = v_max(most, seen - j >= LANES ? x : v_set(-__builtin_inff()));
    }
    float largest = v_largest(most);
    for (int64_t j = seen / LANES * LANES; j < seen; j++)
        largest = row[j] > largest ? row[j] : largest;
    for (int64_t j = 0; j < seen; j += LANES) {
        float tail[LANES] = {0};
        const vfloat x = v_exp(v_load_part(row + j, seen - j) - largest);
        v_store_part(tail, x, seen - j); /* lanes beyond the last key count as zero */
        total += v_load(tail);
        v_store_part(row + j, x, seen - j);
    }
    const float inverse = 1.0f / v_sum(total);
    for (int64_t j = 0; j < seen; j += LANES)
        v_store_part(row + j, v_load_part(row + j, seen - j) * inverse, seen - j);
}

ALWAYS_INLINE vfloat laplace(vfloat x) {
    const float factor = (float)(1 / (LAPLACE_DEVIATION * 1.41421356237309504880));
    return 0.5f + 0.5f * v_erf((x - (float)LAPLACE_MEAN) * factor);
}
ALWAYS_INLINE vfloat laplace_slope(vfloat x) {
    const vfloat apart = (x - (float)LAPLACE_MEAN) * (float)(1 / LAPLACE_DEVIATION);
    return v_exp(-0.5f * apart * apart) * (float)(0.39894228040143267794 / LAPLACE_DEVIATION);
}

/* slope: receives f' of the scores; NULL in forward. */
static void laplace_row(float *row, const float *bias, float scale, int64_t seen, float *slope) {
    for (int64_t j = 0; j < seen; j += LANES) {
        const vfloat x = score_at(row, bias, scale, j, seen - j);
        if (slope) v_store_part(slope + j, laplace_slope(x), seen - j);
        v_store_part(row + j, laplace(x), seen - j);
    }
}
static void squared_relu_row(float *row, const float *bias, float scale, int64_t seen,
                             float *slope) {
    for (int64_t j = 0; j < seen; j += LANES) {
        const vfloat x = v_max(v_zero(), score_at(row, bias, scale, j, seen - j));
        if (slope) v_store_part(slope + j, 2.0f * x, seen - j);
        v_store_part(row + j, x * x, seen - j);
    }
}

/* Products of queries i .. i+rows-1 with the first `keys` keys, rows keys apart, to weights. */
static void weigh(const Attend *a, const Unit *u, int64_t first, int64_t rows, int64_t keys,
                  float *scores, float *slopes) {
    for (int64_t r = 0; r < rows; r++) {
        const int64_t i = first + r, seen = seen_by(a, u, i);
        const float *bias = a->bias + a->view.size - 1 - i, scale = scale_of(a, u, i);
        float *row = scores + r * keys, *slope = slopes ? slopes + r * keys : NULL;
        if (a->view.function == ATTENTION_SOFTMAX) softmax_row(row, bias, scale, seen);
        if (a->view.function == ATTENTION_LAPLACE) laplace_row(row, bias, scale, seen, slope);
        if (a->view.function == ATTENTION_SQUARED_RELU)
            squared_relu_row(row, bias, scale, seen, slope);
        memset(row + seen, 0, (size_t)(keys - seen) * sizeof *row);
    }
}

/* ---- forward ---- */

static void forward_tile(const Attend *a, const Unit *u, int64_t first, float *scores,
                         float *workspace) {
    const ChunkView *view = &a->view;
    const int64_t left = u->count - first;
    const int64_t rows = view->step ? 1 : left < a->rows ? left : a->rows;
    const int64_t keys = seen_by(a, u, first + rows - 1), at = u->b * view->keys + u->first;
    const int64_t row = view->step ? u->b : at + first;
    float *y = a->y + row * view->H;
    if (keys == 0) {
        memset(y, 0, (size_t)(rows * view->H) * sizeof *y);
        return;
    }
    ISA(gemm)
    (GEMM_NT, PRODUCTS_FLOAT, rows, keys, view->Z, a->q + row * view->Z, view->Z,
     a->k + at * view->Z, view->Z, scores, keys, false, workspace, 1);
    weigh(a, u, first, rows, keys, scores, NULL);
    ISA(gemm)
    (GEMM_NN, PRODUCTS_FLOAT, rows, view->H, keys, scores, keys, a->v + at * view->H, view->H, y,
     view->H, false, workspace, 1);
}

static void forward(const OpCall *call, const Run *run) {
    const Attend a = attend_of(call);
    const int64_t tiles = a.view.step ? 1 : (a.view.size + a.rows - 1) / a.rows;
    const int64_t each = chunk_thread_floats(&a.view, PHASE_FORWARD);
#pragma omp parallel for num_threads(run->threads) schedule(static)
    for (int64_t n = 0; n < a.view.units * tiles; n++) {
        const Unit u = unit_of(&a, n / tiles);
        const int64_t first = a.view.step ? a.position : n % tiles * a.rows;
        float *scores = a.memory + omp_get_thread_num() * each;
        if (first < u.count)
            forward_tile(&a, &u, first, scores, scores + chunk_score_floats(&a.view));
    }
}

/* ---- backward ---- */

/* Gradients of the weights to those of products of queries and keys; those of biases are added up
 * on the way. */
static void unweigh(const Attend *a, const Unit *u, int64_t first, int64_t rows, int64_t keys,
                    const float *weights, const float *slopes, float *dweights, float *dbias) {
    for (int64_t r = 0; r < rows; r++) {
        const int64_t i = first + r, seen = seen_by(a, u, i);
        const bool softmax = a->view.function == ATTENTION_SOFTMAX;
        const float *slope = (softmax ? weights : slopes) + r * keys, scale = scale_of(a, u, i);
        float *row = dweights + r * keys, *bias = dbias + a->view.size - 1 - i;
        vfloat total = v_zero();
        for (int64_t j = 0; j < seen && softmax; j += LANES)
            total += v_load_part(slope + j, seen - j) * v_load_part(row + j, seen - j);
        const float mean = softmax ? v_sum(total) : 0;
        for (int64_t j = 0; j < seen; j += LANES) {
            const vfloat x =
                v_load_part(slope + j, seen - j) * (v_load_part(row + j, seen - j) - mean);
            v_store_part(bias + j, v_load_part(bias + j, seen - j) + x, seen - j);
            v_store_part(row + j, x * scale, seen - j);
        }
        memset(row + seen, 0, (size_t)(keys - seen) * sizeof *row);
    }
}

/* Memory of a thread in backward. */
typedef struct Tiles {
    float *weights, *slopes, *dweights, *workspace;
} Tiles;

static void backward_tile(const Attend *a, const Unit *u, int64_t first, const Tiles *t,
                          float *dbias) {
    const ChunkView *view = &a->view;
    const int64_t left = u->count - first, rows = left < a->rows ? left : a->rows;
    const int64_t keys = seen_by(a, u, first + rows - 1), at = u->b * view->L + u->first;
    const int64_t Z = view->Z, H = view->H;
    const float *q = a->q + (at + first) * Z, *dy = a->dy + (at + first) * H;
    const float *k = a->k + at * Z, *v = a->v + at * H;
    if (keys == 0) {
        if (a->dq.data && !a->dq.add)
            memset(a->dq.data + (at + first) * Z, 0, (size_t)(rows * Z) * sizeof(float));
        return;
    }
    ISA(gemm)
    (GEMM_NT, PRODUCTS_FLOAT, rows, keys, Z, q, Z, k, Z, t->weights, keys, false, t->workspace, 1);
    weigh(a, u, first, rows, keys, t->weights, t->slopes);
    ISA(gemm)
    (GEMM_NT, PRODUCTS_FLOAT, rows, keys, H, dy, H, v, H, t->dweights, keys, false, t->workspace,
     1);
    if (a->dv.data) ISA(gemm)
    (GEMM_TN, PRODUCTS_FLOAT, keys, H, rows, t->weights, keys, dy, H, a->dv.data + at * H, H, true,
     t->workspace, 1);
    unweigh(a, u, first, rows, keys, t->weights, t->slopes, t->dweights, dbias);
    if (a->dq.data) ISA(gemm)
    (GEMM_NN, PRODUCTS_FLOAT, rows, Z, keys, t->dweights, keys, k, Z, a->dq.data + (at + first) * Z,
     Z, a->dq.add, t->workspace, 1);
    if (a->dk.data) ISA(gemm)
    (GEMM_TN, PRODUCTS_FLOAT, keys, Z, rows, t->dweights, keys, q, Z, a->dk.data + at * Z, Z, true,
     t->workspace, 1);
}

static void clear(GradientTarget to, int64_t first, int64_t size) {
    if (to.data && !to.add) memset(to.data + first, 0, (size_t)size * sizeof *to.data);
}

static void bias_gradients(const OpCall *call, const Attend *a, const float *tables) {
    const ChunkAttention *attributes = call->attributes;
    const GradientTarget behind = gradient_target(call, CHUNK_BEHIND);
    const GradientTarget ahead = gradient_target(call, CHUNK_AHEAD);
    const int64_t n = a->view.size, width = chunk_bias_floats(&a->view);
    float *sums = a->bias; /* the biases themselves have been read for the last time */
    for (int64_t d = 0; d < width; d += LANES) {
        vfloat sum = v_zero();
        for (int64_t unit = 0; unit < a->view.units; unit++)
            sum += v_load(tables + unit * width + d);
        v_store(sums + d, sum);
    }
    for (int64_t d = 0; d < n && behind.data; d++)
        behind.data[d] = sums[n - 1 - d] + (behind.add ? behind.data[d] : 0);
    for (int64_t d = attributes->ahead_from; d < n && ahead.data; d++) {
        float *to = ahead.data + d - attributes->ahead_from;
        *to = (d ? sums[n - 1 + d] : 0) + (ahead.add ? *to : 0);
    }
}

static void backward(const OpCall *call, const Run *run) {
    Attend a = attend_of(call);
    a.dq = gradient_target(call, CHUNK_Q);
    a.dk = gradient_target(call, CHUNK_K);
    a.dv = gradient_target(call, CHUNK_V);
    float *tables = a.memory;
    a.memory += a.view.units * chunk_bias_floats(&a.view);
    const int64_t each = chunk_thread_floats(&a.view, PHASE_BACKWARD);
    const int64_t scores = chunk_score_floats(&a.view), width = chunk_bias_floats(&a.view);
#pragma omp parallel for num_threads(run->threads) schedule(static)
    for (int64_t n = 0; n < a.view.units; n++) {
        const Unit u = unit_of(&a, n);
        const int64_t at = u.b * a.view.L + u.first;
        float *memory = a.memory + omp_get_thread_num() * each;
        const Tiles tiles = {memory, memory + scores, memory + 2 * scores, memory + 3 * scores};
        memset(tables + n * width, 0, (size_t)width * sizeof *tables);
        clear(a.dk, at * a.view.Z, u.count * a.view.Z);
        clear(a.dv, at * a.view.H, u.count * a.view.H);
        for (int64_t first = 0; first < u.count; first += a.rows)
            backward_tile(&a, &u, first, &tiles, tables + n * width);
    }
    bias_gradients(call, &a, tables);
}

const OpKernels ISA(chunk_attention_cpu) = {forward, backward};
