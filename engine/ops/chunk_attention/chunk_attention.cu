/* Scores of some chunks at a time lie in scratch: products around them are tiled ones
 * (engine/cuda/tiled.cuh), whatever the width of values, and a warp turns a row of scores into
 * weights. */
#include "engine/ops/chunk_attention/chunk_attention.h"

#include "engine/cuda/columns.cuh"
#include "engine/cuda/tiled.cuh"

enum {
    ROW_THREADS = 256,
    MOST_SCORES = 1 << 26 /* numbers of one kind in scratch: a quarter of a gigabyte */
};

/* The call in device memory, and the chunks under way: `first_unit` and those behind it. */
struct Attend {
    ChunkView view;
    const float *q, *k, *v, *behind, *ahead, *dy;
    const int32_t *lengths, *position;
    float *y, *dq, *dk, *dv;
    bool add_q, add_k, add_v;
    int64_t ahead_from;
    int first_unit, units;
    float *scores, *slopes, *dscores; /* (units, size, size) */
    float *dbias;                     /* (all units, 2 size - 1) */
};

/* A chunk: first token (of all sequences), tokens, keys that are not hidden. */
struct Unit {
    int64_t at;
    int count, end;
    __device__ Unit(const Attend &a, int n) {
        const int64_t number = a.first_unit + n, b = number / a.view.chunks;
        const int64_t first = number % a.view.chunks * a.view.size, left = a.view.keys - first;
        at = b * a.view.keys + first;
        count = (int)(left < a.view.size ? left : a.view.size);
        end = count;
        if (a.lengths && a.lengths[b] - first < end) end = (int)(a.lengths[b] - first);
        if (end < 0) end = 0;
    }
};

__device__ static inline int seen_by(const Attend &a, const Unit &u, int i) {
    return a.view.causal && i + 1 < u.end ? i + 1 : u.end;
}
__device__ static inline float scale_of(const Attend &a, const Unit &u, int i) {
    if (a.view.function == ATTENTION_SOFTMAX) return a.view.scale;
    if (a.view.causal) return 1.0f / (float)(i + 1);
    return 1.0f / (float)(u.end > 1 ? u.end : 1);
}
__device__ static inline float bias_of(const Attend &a, int i, int j) {
    if (j <= i) return a.behind ? a.behind[i - j] : 0.0f;
    return a.ahead ? a.ahead[j - i - a.ahead_from] : 0.0f;
}
__device__ static inline float element(AttentionFunction function, float x) {
    if (function == ATTENTION_LAPLACE) {
        const float factor = (float)(1 / (LAPLACE_DEVIATION * 1.41421356237309504880));
        return 0.5f + 0.5f * erff((x - (float)LAPLACE_MEAN) * factor);
    }
    const float positive = fmaxf(x, 0.0f);
    return positive * positive;
}
__device__ static inline float element_slope(AttentionFunction function, float x) {
    if (function != ATTENTION_LAPLACE) return 2.0f * fmaxf(x, 0.0f);
    const float apart = (x - (float)LAPLACE_MEAN) * (float)(1 / LAPLACE_DEVIATION);
    return expf(-0.5f * apart * apart) * (float)(0.39894228040143267794 / LAPLACE_DEVIATION);
}

/* ---- a warp for each row of scores ---- */

/* score(j) for the keys in turn, then weights from them, in place or elsewhere. */
__device__ static inline void weigh_row(const Attend &a, const Unit &u, int i, float *row,
                                        float *slope) {
    const int lane = (int)threadIdx.x % WARP, seen = seen_by(a, u, i);
    const float scale = scale_of(a, u, i);
    const bool softmax = a.view.function == ATTENTION_SOFTMAX;
    float most = -INFINITY, total = 0;
    for (int j = lane; j < seen; j += WARP) {
        const float x = row[j] * scale + bias_of(a, i, j);
        most = fmaxf(most, x);
        if (slope && !softmax) slope[j] = element_slope(a.view.function, x);
        row[j] = softmax ? x : element(a.view.function, x);
    }
    if (softmax) {
        most = warp_max(most);
        for (int j = lane; j < seen; j += WARP) {
            row[j] = expf(row[j] - most);
            total += row[j];
        }
        const float inverse = 1.0f / warp_sum(total);
        for (int j = lane; j < seen; j += WARP) row[j] *= inverse;
    }
    for (int j = seen + lane; j < u.count; j += WARP) row[j] = 0;
}

__device__ static inline void unweigh_row(const Attend &a, const Unit &u, int i,
                                          const float *weight, const float *slope, float *row) {
    const int lane = (int)threadIdx.x % WARP, seen = seen_by(a, u, i);
    const bool softmax = a.view.function == ATTENTION_SOFTMAX;
    float mean = 0;
    for (int j = lane; j < seen && softmax; j += WARP) mean += weight[j] * row[j];
    if (softmax) mean = warp_sum(mean);
    for (int j = lane; j < u.count; j += WARP)
        row[j] = j < seen ? (softmax ? weight[j] : slope[j]) * (row[j] - mean) : 0.0f;
}

/* BACK: gradients of weights to those of scores, else products to weights. */
template <bool BACK> KERNEL void __launch_bounds__(ROW_THREADS) rows_of_scores(const Attend a) {
    const int64_t number = global_thread() / WARP, n = number / a.view.size;
    const int i = (int)(number - n * a.view.size);
    if (n >= a.units) return;
    const Unit u(a, (int)n);
    if (i >= u.count) return;
    const int64_t at = number * a.view.size;
    float *const slope = a.slopes ? a.slopes + at : NULL;
    if (BACK)
        unweigh_row(a, u, i, a.scores + at, slope, a.dscores + at);
    else
        weigh_row(a, u, i, a.scores + at, slope);
}

/* ---- what products fetch and put ---- */

/* Rows of a chunk of a tensor (tokens, width): m or n is the row, k the channel. */
struct Tokens {
    typedef float Number;
    static constexpr bool ALONG = true;
    Attend a;
    const float *data;
    int width;
    __device__ float operator()(int n, int row, int k) const {
        const Unit u(a, n);
        return row < u.count ? data[(u.at + row) * width + k] : 0.0f;
    }
};
/* The same where n is the channel and k the row. */
struct Channels {
    static constexpr bool ALONG = false;
    Attend a;
    const float *data;
    int width;
    __device__ float operator()(int n, int channel, int k) const {
        const Unit u(a, n);
        return k < u.count ? data[(u.at + k) * width + channel] : 0.0f;
    }
};
/* A chunk's scores, scaled row by row where they are gradients: m is the query, or with BY_KEYS the
 * key; k the other. */
template <bool BY_KEYS> struct Scores {
    typedef float Number;
    static constexpr bool ALONG = !BY_KEYS;
    Attend a;
    const float *data;
    bool scaled;
    __device__ float operator()(int n, int m, int k) const {
        const Unit u(a, n);
        const int query = BY_KEYS ? k : m, key = BY_KEYS ? m : k;
        if (query >= u.count || key >= u.count) return 0;
        const float x = data[(n * a.view.size + query) * a.view.size + key];
        return scaled ? x * scale_of(a, u, query) : x;
    }
};
struct ToScores {
    float *to;
    int64_t size;
    __device__ void operator()(int n, int m, int k, float sum) const {
        to[(n * size + m) * size + k] = sum;
    }
};
struct ToTokens {
    Attend a;
    float *to;
    int width;
    bool add;
    __device__ void operator()(int n, int m, int channel, float sum) const {
        const Unit u(a, n);
        if (m < u.count) put(to + (u.at + m) * width + channel, sum, add);
    }
};

/* ---- biases ---- */

/* dbias[unit, distance] = sum over queries; a thread each, neighbours read neighbouring scores. */
static void bias_sums(const Run *run, const Attend &a) {
    const int64_t distances = chunk_distances(&a.view), size = a.view.size;
    for_each(run, a.units * distances, [=] __device__(int64_t i) {
        const int n = (int)(i / distances);
        const int64_t apart = i - n * distances - (size - 1); /* j - i */
        const Unit u(a, n);
        const int64_t from = apart < 0 ? -apart : 0;
        const int64_t to = apart > 0 ? u.count - apart : u.count;
        float sum = 0;
        for (int64_t query = from; query < to; query++)
            sum += a.dscores[(n * size + query) * size + query + apart];
        a.dbias[(a.first_unit + n) * distances + apart + size - 1] = sum;
    });
}

static void bias_gradients(const OpCall *call, const Run *run, const Attend &a, float *sums) {
    const int64_t distances = chunk_distances(&a.view), size = a.view.size, from = a.ahead_from;
    float *const behind = gradient_of(call, CHUNK_BEHIND);
    float *const ahead = gradient_of(call, CHUNK_AHEAD);
    const bool add_behind = call->accumulate[CHUNK_BEHIND];
    const bool add_ahead = call->accumulate[CHUNK_AHEAD];
    if (!behind && !ahead) return;
    add_slices(run, (const float *)a.dbias, distances, a.view.units, sums, false);
    for_each(run, size, [=] __device__(int64_t d) {
        if (behind) put(behind + d, sums[size - 1 - d], add_behind);
        if (ahead && d >= from) put(ahead + d - from, d ? sums[size - 1 + d] : 0.0f, add_ahead);
    });
}

/* ---- phases ---- */

static Attend attend_of(const OpCall *call) {
    Attend a = {};
    a.view = chunk_view(call);
    a.q = data_of(call, CHUNK_Q);
    a.k = data_of(call, CHUNK_K);
    a.v = data_of(call, CHUNK_V);
    a.behind = data_of(call, CHUNK_BEHIND);
    a.ahead = data_of(call, CHUNK_AHEAD);
    if (input_of(call, CHUNK_LENGTHS)) a.lengths = call->in[CHUNK_LENGTHS]->integers;
    if (input_of(call, CHUNK_POSITION)) a.position = call->in[CHUNK_POSITION]->integers;
    a.y = call->out[0]->data;
    a.dy = call->out[0]->gradient;
    a.ahead_from = static_cast<const ChunkAttention *>(call->attributes)->ahead_from;
    return a;
}

/* Chunks whose scores lie in scratch together. */
static int64_t units_at_once(const ChunkView &view) {
    const int64_t fit = MOST_SCORES / (view.size * view.size);
    const int64_t most = view.units < 65535 ? view.units : 65535; /* a grid's third extent */
    return fit < 1 ? 1 : fit < most ? fit : most;
}

static void weights(const Run *run, const Attend &a) {
    const int size = (int)a.view.size, Z = (int)a.view.Z;
    tiled_products(run, a.units, size, size, Z, Tokens{a, a.q, Z}, Tokens{a, a.k, Z},
                   ToScores{a.scores, size});
    LAUNCH(run, rows_of_scores<false>, blocks_for(a.units * a.view.size * WARP, ROW_THREADS),
           ROW_THREADS, 0, a);
}

static void forward_units(const Run *run, const Attend &a) {
    const int size = (int)a.view.size, H = (int)a.view.H;
    weights(run, a);
    tiled_products(run, a.units, size, H, size, Scores<false>{a, a.scores, false},
                   Channels{a, a.v, H}, ToTokens{a, a.y, H, false});
}

static void backward_units(const Run *run, const Attend &a) {
    const int size = (int)a.view.size, Z = (int)a.view.Z, H = (int)a.view.H;
    weights(run, a);
    if (a.dv)
        tiled_products(run, a.units, size, H, size, Scores<true>{a, a.scores, false},
                       Channels{a, a.dy, H}, ToTokens{a, a.dv, H, a.add_v});
    tiled_products(run, a.units, size, size, H, Tokens{a, a.dy, H}, Tokens{a, a.v, H},
                   ToScores{a.dscores, size});
    LAUNCH(run, rows_of_scores<true>, blocks_for(a.units * a.view.size * WARP, ROW_THREADS),
           ROW_THREADS, 0, a);
    bias_sums(run, a);
    if (a.dq)
        tiled_products(run, a.units, size, Z, size, Scores<false>{a, a.dscores, true},
                       Channels{a, a.k, Z}, ToTokens{a, a.dq, Z, a.add_q});
    if (a.dk)
        tiled_products(run, a.units, size, Z, size, Scores<true>{a, a.dscores, true},
                       Channels{a, a.q, Z}, ToTokens{a, a.dk, Z, a.add_k});
}

static void all_units(const Run *run, Attend a, int64_t at_once,
                      void (*work)(const Run *, const Attend &)) {
    for (int64_t first = 0; first < a.view.units; first += at_once) {
        const int64_t left = a.view.units - first;
        a.first_unit = (int)first;
        a.units = (int)(left < at_once ? left : at_once);
        work(run, a);
    }
}

/* One query of each sequence against the rows of its rings that belong to the chunk. */
KERNEL void __launch_bounds__(ROW_THREADS) step_kernel(const Attend a) {
    const int b = (int)blockIdx.x, i = (int)(a.position[0] % a.view.size);
    const int Z = (int)a.view.Z, H = (int)a.view.H, lane = (int)threadIdx.x % WARP;
    const Unit u(a, b);
    float *const row = a.scores + b * a.view.size;
    for (int j = (int)threadIdx.x / WARP; j <= i; j += (int)ROW_THREADS / (int)WARP) {
        float dot = 0;
        for (int z = lane; z < Z; z += WARP) dot += a.q[b * Z + z] * a.k[(u.at + j) * Z + z];
        dot = warp_sum(dot);
        if (lane == 0) row[j] = dot;
    }
    __syncthreads();
    if (threadIdx.x < WARP) weigh_row(a, u, i, row, NULL);
    __syncthreads();
    for (int h = (int)threadIdx.x; h < H; h += ROW_THREADS) {
        float sum = 0;
        for (int j = 0; j <= i; j++) sum += row[j] * a.v[(u.at + j) * H + h];
        a.y[b * (int64_t)H + h] = sum;
    }
}

static void forward(const OpCall *call, const Run *run) {
    Attend a = attend_of(call);
    a.scores = static_cast<float *>(call->scratch);
    if (a.view.step)
        LAUNCH(run, step_kernel, (unsigned)a.view.B, ROW_THREADS, 0, a);
    else
        all_units(run, a, units_at_once(a.view), forward_units);
}

static void backward(const OpCall *call, const Run *run) {
    Attend a = attend_of(call);
    const int64_t at_once = units_at_once(a.view), scores = at_once * a.view.size * a.view.size;
    Carver carver = {static_cast<unsigned char *>(call->scratch)};
    a.scores = carver.take<float>(scores);
    a.slopes = carver.take<float>(scores);
    a.dscores = carver.take<float>(scores);
    a.dbias = carver.take<float>(a.view.units * chunk_distances(&a.view));
    a.dq = gradient_of(call, CHUNK_Q);
    a.dk = gradient_of(call, CHUNK_K);
    a.dv = gradient_of(call, CHUNK_V);
    a.add_q = call->accumulate[CHUNK_Q];
    a.add_k = call->accumulate[CHUNK_K];
    a.add_v = call->accumulate[CHUNK_V];
    all_units(run, a, at_once, backward_units);
    bias_gradients(call, run, a, carver.take<float>(chunk_distances(&a.view)));
}

static size_t scratch(const OpCall *call, Phase phase) {
    const ChunkView view = chunk_view(call);
    if (view.step) return carved(view.B * view.size, sizeof(float));
    const size_t scores = carved(units_at_once(view) * view.size * view.size, sizeof(float));
    if (phase == PHASE_FORWARD) return scores;
    return 3 * scores + carved(view.units * chunk_distances(&view), sizeof(float)) +
           carved(chunk_distances(&view), sizeof(float));
}

CUDA_OP(chunk_attention, {forward, backward}, scratch);
