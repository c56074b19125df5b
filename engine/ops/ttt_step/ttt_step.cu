/* A block for each head of each sequence. Bound by memory: of a weight, what the sequence began
 * with, the state's two halves, and the sum written back. Columns of a layer's weights are the
 * lanes, its rows are dealt out to SLICES groups of threads, whose sums are added in order. */
#include "engine/ops/ttt_step/ttt_step.h"

#include "engine/cuda/activation.cuh"
#include "engine/ops/ttt/ttt_inputs.cuh"
#include "engine/ops/ttt_step/ttt_step_plan.h"

namespace {

enum { COLUMNS = 64, SLICES = 4, THREADS = COLUMNS * SLICES, WARPS = THREADS / 32 };

struct Inputs : TttInner {
    const int32_t *position;
    float *state, *y;
};

/* One head of one sequence; rows of shared memory. */
struct Token {
    const TttPlan &plan;
    const float *W[TTT_LAYERS], *c[TTT_LAYERS];
    float *taken, *sum;
    const float *gamma, *beta;
    float tau, rate;
    float *x[TTT_LAYERS], *query[TTT_LAYERS], *z[TTT_LAYERS], *answer[TTT_LAYERS], *g[TTT_LAYERS];
    float *space; /* THREADS */
};

/* to[j] = first(j) + sum over rows i of term(i, j); every thread calls term for its own pairs. */
template <class First, class Term>
__device__ void sum_rows(const Token &token, int rows, int columns, float *to, First first,
                         Term term) {
    const int own = (int)threadIdx.x % COLUMNS, slice = (int)threadIdx.x / COLUMNS;
    for (int from = 0; from < columns; from += COLUMNS) {
        const int j = from + own;
        float sum = 0;
        for (int i = slice; j < columns && i < rows; i += SLICES) sum += term(i, j);
        token.space[threadIdx.x] = sum;
        __syncthreads();
        if (slice == 0 && j < columns) {
            sum = first(j);
            for (int n = 0; n < SLICES; n++) sum += token.space[n * COLUMNS + own];
            to[j] = sum;
        }
        __syncthreads();
    }
}

/* z = x W + c with the weights before the mini-batch. */
__device__ void affine(const Token &token, int l, const float *x, float *z) {
    const int in = (int)token.plan.in[l], out = (int)token.plan.out[l];
    const float *const W = token.W[l], *const c = token.c[l];
    const float *const taken = token.taken + token.plan.W[l];
    const float *const taken_c = token.taken + token.plan.c[l];
    sum_rows(
        token, in, out, z, [&](int j) { return c[j] - taken_c[j]; },
        [&](int i, int j) { return x[i] * (W[i * out + j] - taken[i * out + j]); });
}

/* sum += rate x g^T, and the query's z -= tau query sum. */
__device__ void add_lesson(const Token &token, int l) {
    const int in = (int)token.plan.in[l], out = (int)token.plan.out[l];
    float *const sum = token.sum + token.plan.W[l], *const sum_c = token.sum + token.plan.c[l];
    const float *const g = token.g[l], *const x = token.x[l], *const query = token.query[l];
    float *const answer = token.answer[l];
    sum_rows(
        token, in, out, answer,
        [&](int j) {
            sum_c[j] += token.rate * g[j];
            return answer[j] - token.tau * sum_c[j];
        },
        [&](int i, int j) {
            const float total = sum[i * out + j] + token.rate * x[i] * g[j];
            sum[i * out + j] = total;
            return -token.tau * query[i] * total;
        });
}

/* sum over the channels of term(channel), in every thread. */
template <class Term> __device__ float total(const Token &token, Term term) {
    float sum = 0;
    for (int i = (int)threadIdx.x; i < (int)token.plan.f; i += THREADS) sum += term(i);
    return block_sum(sum, token.space);
}

template <class Body> __device__ void for_channels(int64_t channels, Body body) {
    for (int i = (int)threadIdx.x; i < (int)channels; i += THREADS) body(i);
    __syncthreads();
}

/* x becomes (x - mean) / deviation; returns 1 / deviation. */
__device__ float normalise(const Token &token, float *x) {
    const float part = 1.0f / (float)token.plan.f;
    const float mean = part * total(token, [=](int i) { return x[i]; });
    const float variance =
        part * total(token, [=](int i) { return (x[i] - mean) * (x[i] - mean); });
    const float inverse = 1.0f / sqrtf(variance + ttt_epsilon);
    for_channels(token.plan.f, [=](int i) { x[i] = (x[i] - mean) * inverse; });
    return inverse;
}

__device__ void last_gradient(const Token &token, const float *v) {
    const int64_t f = token.plan.f, l = token.plan.layers - 1;
    float *const z = token.z[l], *const g = token.g[l];
    const float part = 1.0f / (float)f, inverse = normalise(token, z);
    for_channels(f, [&](int i) {
        const float target = v[i] - token.x[0][i];
        g[i] = token.gamma[i] * (token.gamma[i] * z[i] + token.beta[i] - target);
    });
    const float mean = part * total(token, [=](int i) { return g[i]; });
    const float along = part * total(token, [=](int i) { return g[i] * z[i]; });
    for_channels(f, [=](int i) { g[i] = (g[i] - mean - z[i] * along) * inverse; });
}

__device__ float gelu(float x) {
    return x * sigmoid_of(2.0f * gelu_argument(x));
}
__device__ float gelu_slope(float x) {
    const float s = sigmoid_of(2.0f * gelu_argument(x)), ds = s * (1.0f - s);
    return s + (ds > 0 ? 2.0f * x * ds * gelu_argument_slope(x) : 0);
}

/* g of the first layer: (g[1] W2^T) gelu'(z), a warp for each row of W2. */
__device__ void hidden_gradient(const Token &token) {
    const int f = (int)token.plan.f, h = (int)token.plan.out[0];
    const float *const taken = token.taken + token.plan.W[1];
    for (int i = (int)threadIdx.x / WARP; i < h; i += WARPS) {
        float sum = 0;
        for (int j = (int)threadIdx.x % WARP; j < f; j += WARP)
            sum += token.g[1][j] * (token.W[1][i * f + j] - taken[i * f + j]);
        sum = warp_sum(sum);
        if (threadIdx.x % WARP == 0) token.g[0][i] = sum * gelu_slope(token.z[0][i]);
    }
    __syncthreads();
}

KERNEL void __launch_bounds__(THREADS) step(const Inputs in, int64_t row) {
    const TttPlan &plan = in.plan;
    const int64_t unit = blockIdx.x, head = unit % plan.H, f = plan.f, last = plan.layers - 1;
    const int64_t t = in.position[0] % plan.b;
    float *const shared = shared_memory<float>(), *const taken = in.state + unit * 2 * plan.P;
    Token token = {plan};
    token.taken = taken;
    token.sum = taken + plan.P;
    token.gamma = in.gamma + head * f;
    token.beta = in.beta + head * f;
    token.tau = fmaxf(1.0f / (float)(t + 1) + in.index[t], 0.0f);
    token.rate = plan.scale * in.rate[unit];
    for (int l = 0; l < plan.layers; l++) {
        float *const rows = shared + 5 * l * row;
        token.W[l] = in.W[l] + head * plan.in[l] * plan.out[l];
        token.c[l] = in.c[l] + head * plan.out[l];
        token.x[l] = rows;
        token.query[l] = rows + row;
        token.z[l] = rows + 2 * row;
        token.answer[l] = rows + 3 * row;
        token.g[l] = rows + 4 * row;
    }
    token.space = shared + 5 * plan.layers * row;
    for_channels(f, [&](int i) {
        token.x[0][i] = in.k[unit * f + i];
        token.query[0][i] = in.q[unit * f + i];
    });
    affine(token, 0, token.x[0], token.z[0]);
    if (last) {
        for_channels(plan.out[0], [&](int i) { token.x[1][i] = gelu(token.z[0][i]); });
        affine(token, 1, token.x[1], token.z[1]);
    }
    last_gradient(token, in.v + unit * f);
    if (last) hidden_gradient(token);
    for (int l = 0; l < plan.layers; l++) {
        if (l)
            for_channels(plan.out[0], [&](int i) { token.query[1][i] = gelu(token.answer[0][i]); });
        affine(token, l, token.query[l], token.answer[l]);
        add_lesson(token, l);
    }
    normalise(token, token.answer[last]);
    for_channels(f, [&](int i) {
        in.y[unit * f + i] =
            token.query[0][i] + (token.answer[last][i] * token.gamma[i] + token.beta[i]);
    });
    for (int64_t i = threadIdx.x; t == plan.b - 1 && i < plan.P; i += THREADS) {
        taken[i] += token.tau * token.sum[i];
        token.sum[i] = 0;
    }
}

void forward(const OpCall *call, const Run *run) {
    const Inputs in = {ttt_inner(call), call->in[TTT_STEP_POSITION]->integers, call->out[0]->data,
                       call->out[1]->data};
    const TttPlan &plan = in.plan;
    const int64_t row = ttt_step_row(&plan), floats = 5 * plan.layers * row + THREADS;
    LAUNCH(run, step, dim3((unsigned)(plan.B * plan.H)), dim3(THREADS),
           (size_t)floats * sizeof(float), in, row);
}

} // namespace

CUDA_OP(ttt_step, {forward, NULL}, NULL);
