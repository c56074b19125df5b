/* A warp for each row: it reads its row once from memory and then from the cache. */
#include "engine/ops/norm/norm.h"

#include "engine/cuda/columns.cuh"

enum { THREADS = 128 };

struct Rows {
    const float *x, *gamma, *beta;
    float *inverse, *mean; /* saved: 1 / deviation and, for layer norm, the mean */
    int64_t rows, width;
    float epsilon;
};

KERNEL void __launch_bounds__(THREADS) normalise(Rows r, float *__restrict__ y) {
    const int64_t row = global_thread() / WARP;
    const int lane = (int)threadIdx.x % WARP;
    if (row >= r.rows) return; /* whole warps */
    const float *x = r.x + row * r.width;
    float mean = 0, square = 0;
    if (r.mean) {
        for (int64_t c = lane; c < r.width; c += WARP) mean += x[c];
        mean = warp_sum(mean) / (float)r.width;
    }
    for (int64_t c = lane; c < r.width; c += WARP) square += (x[c] - mean) * (x[c] - mean);
    const float inverse = 1.0f / sqrtf(warp_sum(square) / (float)r.width + r.epsilon);
    for (int64_t c = lane; c < r.width; c += WARP) {
        const float value = (x[c] - mean) * inverse * (r.gamma ? r.gamma[c] : 1.0f);
        y[row * r.width + c] = value + (r.beta ? r.beta[c] : 0.0f);
    }
    if (lane != 0) return;
    r.inverse[row] = inverse;
    if (r.mean) r.mean[row] = mean;
}

/* dx = (g - mean(g) - xhat mean(g xhat)) / deviation, g = gamma dy; without mean(g) for RMS. */
KERNEL void __launch_bounds__(THREADS)
    input_gradient(Rows r, const float *__restrict__ dy, float *dx, bool accumulate) {
    const int64_t row = global_thread() / WARP;
    const int lane = (int)threadIdx.x % WARP;
    if (row >= r.rows) return;
    const float *x = r.x + row * r.width, *g = dy + row * r.width;
    const float inverse = r.inverse[row], mean = r.mean ? r.mean[row] : 0.0f;
    float plain = 0, along = 0;
    for (int64_t c = lane; c < r.width; c += WARP) {
        const float scaled = g[c] * (r.gamma ? r.gamma[c] : 1.0f);
        plain += scaled;
        along += scaled * (x[c] - mean) * inverse;
    }
    plain = r.mean ? warp_sum(plain) / (float)r.width : 0.0f;
    along = warp_sum(along) / (float)r.width;
    for (int64_t c = lane; c < r.width; c += WARP) {
        const float scaled = g[c] * (r.gamma ? r.gamma[c] : 1.0f);
        const float value = (scaled - plain - (x[c] - mean) * inverse * along) * inverse;
        put(dx + row * r.width + c, value, accumulate);
    }
}

/* dy xhat: the term of gamma's gradient */
struct GammaTerm {
    Rows r;
    const float *dy;
    __device__ float operator()(int64_t row, int64_t c) const {
        const int64_t i = row * r.width + c;
        return dy[i] * (r.x[i] - (r.mean ? r.mean[row] : 0.0f)) * r.inverse[row];
    }
};

static Rows rows_from(const OpCall *call) {
    const Norm *attributes = static_cast<const Norm *>(call->attributes);
    Rows r = {};
    r.x = call->in[0]->data;
    r.gamma = data_of(call, 1);
    r.beta = data_of(call, 2);
    r.inverse = call->saved[0]->data;
    r.mean = attributes->kind == NORM_KIND_LAYER ? call->saved[1]->data : NULL;
    r.rows = rows_of(call->in[0]);
    r.width = extent(call->in[0], -1);
    r.epsilon = attributes->epsilon;
    return r;
}

static void forward(const OpCall *call, const Run *run) {
    const Rows r = rows_from(call);
    LAUNCH(run, normalise, blocks_for(r.rows * WARP, THREADS), THREADS, 0, r, call->out[0]->data);
}

static void backward(const OpCall *call, const Run *run) {
    const Rows r = rows_from(call);
    const float *dy = call->out[0]->gradient;
    float *const scratch = static_cast<float *>(call->scratch);
    /* Parameters first: dx may be the memory of dy. */
    if (gradient_of(call, 1))
        sum_columns(run, GammaTerm{r, dy}, r.rows, r.width, gradient_of(call, 1),
                    call->accumulate[1], scratch);
    if (gradient_of(call, 2))
        sum_columns(run, MatrixTerm{dy, r.width}, r.rows, r.width, gradient_of(call, 2),
                    call->accumulate[2], scratch);
    if (gradient_of(call, 0))
        LAUNCH(run, input_gradient, blocks_for(r.rows * WARP, THREADS), THREADS, 0, r, dy,
               gradient_of(call, 0), call->accumulate[0]);
}

static size_t scratch(const OpCall *call, Phase phase) {
    if (phase == PHASE_FORWARD || call->inputs == 1) return 0;
    return column_scratch(rows_of(call->in[0]), extent(call->in[0], -1));
}

CUDA_OP(norm, {forward, backward}, scratch);
