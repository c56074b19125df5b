/* A team of threads for each row, which it keeps in registers: memory is read once. Bound by it:
 * 8 bytes an element forward, 12 backward. */
#include <algorithm>
#include <cassert>

#include "engine/ops/norm/norm.h"

#include "engine/cuda/rounded.cuh"

enum { THREADS = 128, WIDE = 256, WIDEST = 1024 };
/* Rows whose gradients of gamma and beta are summed together make a slice, a block: as many as run
 * at once on the 132 multiprocessors of the largest GPU at hand, and some rows for each warp. */
enum { MULTIPROCESSORS = 132, SLICE_ROWS = 16 };

struct Rows {
    const float *x, *gamma, *beta;
    float *inverse, *mean; /* saved: 1 / deviation and, for layer norm, the mean */
    int64_t rows, width;
    float epsilon;
};

/* What the threads of a team hold: EACH pieces of V floats, a team's width apart. A team is a warp
 * or a whole block. */
template <int TEAM, int EACH, int V> struct Team {
    enum { STRIDE = TEAM * V };

    /* body(piece, column) for the pieces that lie within the row */
    template <class Body> __device__ static void each(int64_t width, Body body) {
#pragma unroll
        for (int k = 0; k < EACH; k++) {
            const int64_t c = (int64_t)k * STRIDE + (int64_t)(threadIdx.x % TEAM) * V;
            if (c < width) body(k, c);
        }
    }
    __device__ static float sum(float x, float *space) {
        if constexpr (TEAM == WARP)
            return warp_sum(x);
        else
            return block_sum(x, space);
    }
    /* Of two numbers, with one barrier: a block gives two spaces, in turn. */
    __device__ static void sums(float &x, float &y, Lanes<2> *space) {
        x = warp_sum(x);
        y = warp_sum(y);
        if constexpr (TEAM != WARP) {
            if (threadIdx.x % WARP == 0) space[threadIdx.x / WARP] = {{x, y}};
            __syncthreads();
            x = y = 0;
#pragma unroll
            for (int i = 0; i < TEAM / (int)WARP; i++) {
                const Lanes<2> own = space[i];
                x += own.of[0];
                y += own.of[1];
            }
        }
    }
};

template <int V> __device__ static inline Lanes<V> load_or(const float *p, int64_t c, float other) {
    Lanes<V> x;
    if (p) return load<V>(p + c);
    for (int e = 0; e < V; e++) x.of[e] = other;
    return x;
}

template <int TEAM, int EACH, int V>
KERNEL void __launch_bounds__(TEAM == WARP ? (int)THREADS : TEAM)
    normalise(Rows r, const Result y) {
    typedef Team<TEAM, EACH, V> Own;
    __shared__ float space[WARP];
    const int64_t row = global_thread() / TEAM;
    if (row >= r.rows) return; /* whole teams */
    Lanes<V> x[EACH];
    float mean = 0, square = 0;
    Own::each(r.width, [&](int k, int64_t c) {
        x[k] = load<V>(r.x + row * r.width + c);
        for (int e = 0; e < V; e++) mean += x[k].of[e];
    });
    mean = r.mean ? Own::sum(mean, space) / (float)r.width : 0.0f;
    Own::each(r.width, [&](int k, int64_t) {
        for (int e = 0; e < V; e++) square += (x[k].of[e] - mean) * (x[k].of[e] - mean);
    });
    const float inverse = 1.0f / sqrtf(Own::sum(square, space) / (float)r.width + r.epsilon);
    Own::each(r.width, [&](int k, int64_t c) {
        const Lanes<V> gamma = load_or<V>(r.gamma, c, 1.0f), beta = load_or<V>(r.beta, c, 0.0f);
        for (int e = 0; e < V; e++)
            x[k].of[e] = (x[k].of[e] - mean) * inverse * gamma.of[e] + beta.of[e];
        y.put<V>(row * r.width + c, x[k]);
    });
    if (threadIdx.x % TEAM != 0) return;
    r.inverse[row] = inverse;
    if (r.mean) r.mean[row] = mean;
}

struct Adjoint {
    const float *dy;
    float *dx;
    bool accumulate;
    float *gamma, *beta; /* (slices, width): sums of a slice's rows; both NULL: not wanted */
    int64_t slices;
};

/* dx = (g - mean(g) - xhat mean(g xhat)) / deviation, g = gamma dy; without mean(g) for RMS.
 * Gradients of gamma, the sum of dy xhat, and of beta, the sum of dy, beside it. */
template <int TEAM, int EACH, int V>
KERNEL void __launch_bounds__(TEAM == WARP ? (int)THREADS : TEAM) adjoint(Rows r, Adjoint a) {
    typedef Team<TEAM, EACH, V> Own;
    __shared__ Lanes<2> space[2][WARP];
    const int64_t slice = blockIdx.x, teams = blockDim.x / TEAM, team = threadIdx.x / TEAM;
    const int64_t from = slice * r.rows / a.slices, to = (slice + 1) * r.rows / a.slices;
    constexpr bool AHEAD = EACH * V <= 8; /* the next row's numbers have room in registers */
    Lanes<V> gamma_sum[EACH] = {}, beta_sum[EACH] = {}, x[EACH], dy[EACH];
    const float share = 1.0f / (float)r.width;
    float next_inverse = 0, next_mean = 0;
    const auto fetch = [&](int64_t row) {
        if (row >= to) return;
        Own::each(r.width, [&](int k, int64_t c) {
            x[k] = load<V>(r.x + row * r.width + c);
            dy[k] = load<V>(a.dy + row * r.width + c);
        });
        next_inverse = r.inverse[row];
        next_mean = r.mean ? r.mean[row] : 0.0f;
    };
    if (AHEAD) fetch(from + team);
    int turn = 0;
    for (int64_t row = from + team; row < to; row += teams) {
        const float inverse = AHEAD ? next_inverse : r.inverse[row];
        const float mean = AHEAD ? next_mean : r.mean ? r.mean[row] : 0.0f;
        Lanes<V> normal[EACH], g[EACH];
        float plain = 0, along = 0;
        Own::each(r.width, [&](int k, int64_t c) {
            normal[k] = AHEAD ? x[k] : load<V>(r.x + row * r.width + c);
            g[k] = AHEAD ? dy[k] : load<V>(a.dy + row * r.width + c);
            const Lanes<V> gamma = load_or<V>(r.gamma, c, 1.0f);
            for (int e = 0; e < V; e++) {
                normal[k].of[e] = (normal[k].of[e] - mean) * inverse;
                gamma_sum[k].of[e] += g[k].of[e] * normal[k].of[e];
                beta_sum[k].of[e] += g[k].of[e];
                g[k].of[e] *= gamma.of[e];
                plain += g[k].of[e];
                along += g[k].of[e] * normal[k].of[e];
            }
        });
        if (AHEAD) fetch(row + teams);
        if (!a.dx) continue;
        Own::sums(plain, along, space[turn ^= 1]);
        plain = r.mean ? plain * share : 0.0f;
        along *= share;
        Own::each(r.width, [&](int k, int64_t c) {
            float *const dx = a.dx + row * r.width + c;
            Lanes<V> value = {};
            if (a.accumulate) value = load<V>(dx);
            for (int e = 0; e < V; e++)
                value.of[e] += (g[k].of[e] - plain - normal[k].of[e] * along) * inverse;
            store<V>(dx, value);
        });
    }
    if (!a.gamma && !a.beta) return;
    if constexpr (TEAM != WARP) {
        Own::each(r.width, [&](int k, int64_t c) {
            if (a.gamma) store<V>(a.gamma + slice * r.width + c, gamma_sum[k]);
            if (a.beta) store<V>(a.beta + slice * r.width + c, beta_sum[k]);
        });
        return;
    }
    float *const sums = shared_memory<float>(); /* (2, width), team after team */
    for (int64_t place = 0; place < teams; place++) {
        __syncthreads();
        if (place != team) continue;
        Own::each(r.width, [&](int k, int64_t c) {
            for (int e = 0; e < V; e++) {
                float *const at = sums + c + e;
                at[0] = gamma_sum[k].of[e] + (place ? at[0] : 0.0f);
                at[r.width] = beta_sum[k].of[e] + (place ? at[r.width] : 0.0f);
            }
        });
    }
    __syncthreads();
    for (int64_t c = threadIdx.x; c < r.width; c += blockDim.x) {
        if (a.gamma) a.gamma[slice * r.width + c] = sums[c];
        if (a.beta) a.beta[slice * r.width + c] = sums[r.width + c];
    }
}

/* The smallest of these teams that holds a row. */
struct TeamKernels {
    int64_t width; /* at most */
    int team;
    int blocks; /* backward, of a multiprocessor: by registers */
    void (*forward)(Rows, Result);
    void (*backward)(Rows, Adjoint);
};
#define TEAM_ROW(team, each, v, blocks)                                                            \
    { team *each *v, team, blocks, normalise<team, each, v>, adjoint<team, each, v> }
static const TeamKernels by_fours[] = {TEAM_ROW(WARP, 1, 4, 4), TEAM_ROW(WARP, 2, 4, 4),
                                       TEAM_ROW(WARP, 4, 4, 4), TEAM_ROW(WIDE, 1, 4, 4),
                                       TEAM_ROW(WIDE, 2, 4, 3), TEAM_ROW(WIDE, 4, 4, 2),
                                       TEAM_ROW(WIDE, 8, 4, 1), TEAM_ROW(WIDEST, 32, 4, 2)};
static const TeamKernels by_ones[] = {TEAM_ROW(WARP, 2, 1, 4), TEAM_ROW(WARP, 8, 1, 4),
                                      TEAM_ROW(WIDE, 4, 1, 4), TEAM_ROW(WIDE, 32, 1, 1),
                                      TEAM_ROW(WIDEST, 32, 1, 2)};

template <size_t N>
static const TeamKernels *first_fit(const TeamKernels (&list)[N], int64_t width) {
    for (const TeamKernels &kernels : list)
        if (width <= kernels.width) return &kernels;
    assert(
        !"norm on a GPU: a row of more than 131072 numbers, or of more than 32768 that are not a "
         "multiple of 4");
    return NULL;
}
static const TeamKernels *kernels_for(int64_t width) {
    return width % 4 == 0 ? first_fit(by_fours, width) : first_fit(by_ones, width);
}

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
    const TeamKernels *kernels = kernels_for(r.width);
    const int threads = kernels->team == WARP ? (int)THREADS : kernels->team;
    launch_named("normalise", run, kernels->forward, blocks_for(r.rows * kernels->team, threads),
                 threads, 0, r, result_of(call, 0));
}

static int64_t slices_of(int64_t rows, int64_t width) {
    const int64_t slices = (rows + SLICE_ROWS - 1) / SLICE_ROWS;
    return std::min(slices, (int64_t)MULTIPROCESSORS * kernels_for(width)->blocks);
}

static void backward(const OpCall *call, const Run *run) {
    const Rows r = rows_from(call);
    const TeamKernels *kernels = kernels_for(r.width);
    float *const gamma = gradient_of(call, 1), *const beta = gradient_of(call, 2);
    Carver carver = {static_cast<unsigned char *>(call->scratch)};
    Adjoint a = {};
    a.dy = call->out[0]->gradient;
    a.dx = gradient_of(call, 0);
    a.accumulate = call->accumulate[0];
    a.slices = slices_of(r.rows, r.width);
    if (gamma) a.gamma = carver.take<float>(a.slices * r.width);
    if (beta) a.beta = carver.take<float>(a.slices * r.width);
    const int threads = kernels->team == WARP ? (int)THREADS : kernels->team;
    const size_t shared = kernels->team == WARP ? (size_t)(2 * r.width) * sizeof(float) : 0;
    launch_named("adjoint", run, kernels->backward, (unsigned)a.slices, threads, shared, r, a);
    if (gamma) add_slices(run, a.gamma, r.width, a.slices, gamma, call->accumulate[1]);
    if (beta) add_slices(run, a.beta, r.width, a.slices, beta, call->accumulate[2]);
}

static size_t scratch(const OpCall *call, Phase phase) {
    if (phase == PHASE_FORWARD) return 0;
    const int64_t rows = rows_of(call->in[0]), width = extent(call->in[0], -1);
    return 2 * carved(slices_of(rows, width) * width, sizeof(float));
}

static Roundable roundable(const OpCall *) {
    return {0, 0, 1u << 0};
}

CUDA_OP(norm, {forward, backward}, scratch, NULL, roundable);
