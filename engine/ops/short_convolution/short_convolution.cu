/* A thread owns V neighbouring channels and a stretch of the time axis, along which a window of
 * rows slides through its registers, so that a row is read about once. Bound by memory: 8 bytes an
 * element forward, 12 backward. Numbers of taps without a kernel of their own use that of TAPS_MOST
 * with zeros before the first tap. */
#include "engine/ops/short_convolution/short_convolution.h"

#include "engine/cuda/activation.cuh"
#include "engine/cuda/columns.cuh"
#include "engine/ops/short_convolution/short_convolution_plan.h"

enum {
    STRETCH = 16, /* outputs of a thread in a row, forward */
    AHEAD = 4,    /* rows that it loads at once; a turn of the loop */
    LINES = 4,    /* stretches of a block, a warp of channels each */
    THREADS = LINES * WARP,
    BLOCKS = 1980,   /* at most, backward: three times what 132 multiprocessors hold, 5 each */
    LEAST_TURNS = 4, /* of a line backward: the rows before them are read once more */
    TAPS_MOST = SHORT_CONVOLUTION_TAPS
};

struct Convolution {
    int64_t B, L, E, K, past; /* past: rows seen before an output's own, by K or padded taps */
    const float *x, *w, *bias, *state;
    bool silu;
};

/* Where a thread is: its channels and its line of stretches. */
template <int V> struct Place {
    int64_t e;
    int line;
    __device__ Place()
        : e(((int64_t)blockIdx.y * WARP + threadIdx.x % WARP) * V), line((int)threadIdx.x / WARP) {
    }
};

/* x[b, s] with the state before it and zeros around */
template <int V>
__device__ static inline Lanes<V> row(const Convolution &c, int64_t b, int64_t s, int64_t e) {
    const int64_t H = c.K - 1;
    if (s >= 0 && s < c.L) return load<V>(c.x + (b * c.L + s) * c.E + e);
    if (s < 0 && c.state && H + s >= 0) return load<V>(c.state + (b * H + H + s) * c.E + e);
    return Lanes<V>{};
}

/* K taps and the bias of a thread's channels. */
template <int K, int V> struct Weights {
    Lanes<V> tap[K], bias;
    __device__ Weights(const Convolution &c, int64_t e) : bias{} {
        for (int j = 0; j < K; j++) {
            const int64_t given = j - (K - c.K);
            tap[j] = given >= 0 ? load<V>(c.w + given * c.E + e) : Lanes<V>{};
        }
        if (c.bias) bias = load<V>(c.bias + e);
    }
    /* before the activation; rows[j] meets tap j */
    __device__ Lanes<V> sum(const Lanes<V> *rows) const {
        Lanes<V> to = bias;
        for (int j = 0; j < K; j++)
            for (int v = 0; v < V; v++) to.of[v] += tap[j].of[v] * rows[j].of[v];
        return to;
    }
};

template <int K, int V, bool SILU>
KERNEL void __launch_bounds__(THREADS)
    forward_kernel(Convolution c, float *__restrict__ y, int64_t chunks) {
    const Place<V> at;
    const int64_t unit = (int64_t)blockIdx.x * LINES + at.line, b = unit / chunks;
    if (at.e >= c.E || b >= c.B) return;
    const Weights<K, V> weights(c, at.e);
    const int from = (int)(unit % chunks) * STRETCH, future = K - 1 - (int)c.past;
    const int L = (int)c.L, E = (int)c.E;
    const int64_t origin = (b * c.L + from) * E + at.e;
    const float *x = c.x + origin + future * E;
    float *to = y + origin;
    Lanes<V> window[K - 1 + AHEAD], next[AHEAD];
    const auto fetch = [&](int first) { /* not before the sequence: no state */
#pragma unroll
                                        for (int k = 0; k < AHEAD; k++)
                                            next[k] =
                                                first + k < L ? load<V>(x + k * E) : Lanes<V>{};
                                        x += AHEAD * E;
    };
    fetch(from + future);
#pragma unroll
    for (int j = 0; j < K - 1; j++) window[j] = row<V>(c, b, from - c.past + j, at.e);
    const int end = min(from + (int)STRETCH, L);
#pragma unroll 1 /* in a longer body the compiler stores channels one by one */
    for (int t = from; t < end; t += AHEAD) {
#pragma unroll
        for (int k = 0; k < AHEAD; k++) window[K - 1 + k] = next[k];
        if (t + AHEAD < end) fetch(t + AHEAD + future);
#pragma unroll
        for (int k = 0; k < AHEAD; k++) {
            Lanes<V> value = weights.sum(window + k);
            if constexpr (SILU)
                for (int v = 0; v < V; v++) value.of[v] *= sigmoid_fast(value.of[v]);
            if (t + k < L) store<V>(to + k * E, value);
        }
        to += AHEAD * E;
#pragma unroll
        for (int j = 0; j < K - 1; j++) window[j] = window[AHEAD + j];
    }
}

struct Adjoint {
    const float *dy;
    float *dx, *d_state; /* NULL: not wanted, like the sums */
    bool add_x, add_state;
    float *taps, *bias; /* sums of a slice: (slices, K, E) and (slices, E) */
    int turns;          /* of a sequence; all turns are shared among the lines of all slices */
    int64_t slices;
};

/* inner[t] is the cotangent of output t before the activation; that of row s is
 * sum_j w[j] inner[s + past - j], and tap j's is sum_t inner[t] x[t - past + j]. */
template <int K, int V, bool SILU>
__device__ static inline Lanes<V> inner_at(const Weights<K, V> &weights, const Lanes<V> *rows,
                                           const Lanes<V> &dy) {
    Lanes<V> inner = dy;
    if constexpr (SILU) {
        const Lanes<V> before = weights.sum(rows);
        for (int v = 0; v < V; v++) {
            const float s = sigmoid_fast(before.of[v]);
            inner.of[v] *= s * (1.0f + before.of[v] * (1.0f - s));
        }
    }
    return inner;
}

/* Row r of a sequence completes the window of output r - future and the cotangent of row
 * r - (K-1); r runs from 0 on until the last row's is complete. A line of threads has a stretch of
 * all turns of all sequences, and makes the outputs before it again, which the first rows need.
 * What a turn reads was asked for a turn ahead. */
template <int K, int V, bool SILU>
KERNEL void __launch_bounds__(THREADS, K <= 4 ? 5 : 3) backward_kernel(Convolution c, Adjoint a) {
    const Place<V> at;
    const int e = at.e < c.E ? (int)at.e : 0; /* all reach the barrier */
    const int L = (int)c.L, E = (int)c.E, H = (int)c.K - 1, future = K - 1 - (int)c.past;
    const Weights<K, V> weights(c, e);
    Lanes<V> taps[K] = {}, bias = {};
    const int64_t slice = blockIdx.x, line = slice * LINES + at.line, lines = a.slices * LINES;
    const int64_t all = c.B * a.turns;
    const int last = at.e < c.E ? (int)((line + 1) * all / lines) : 0;
    for (int turn = (int)(line * all / lines); turn < last;) {
        const int b = turn / a.turns, begin = b * a.turns;
        const int end = min(last - begin, a.turns) * (int)AHEAD;
        int r = (turn - begin) * AHEAD;
        turn = begin + a.turns;
        const int64_t origin = (b * c.L + r) * E + e;
        const float *x = c.x + origin, *dy = a.dy + origin - future * E;
        float *dx = a.dx + origin - (K - 1) * E;
        const auto output = [&](int t, int64_t offset) {
            return (unsigned)t < (unsigned)L ? load<V>(dy + offset) : Lanes<V>{};
        };
        Lanes<V> rows[K - 1 + AHEAD], inner[K - 1 + AHEAD], next[AHEAD], next_dy[AHEAD];
        const auto fetch = [&](int from) { /* not before the sequence: no state */
#pragma unroll
                                           for (int k = 0; k < AHEAD; k++) {
                                               next[k] =
                                                   from + k < L ? load<V>(x + k * E) : Lanes<V>{};
                                               next_dy[k] = output(from + k - future, k * E);
                                           }
                                           x += AHEAD * E;
                                           dy += AHEAD * E;
        };
        {
            Lanes<V> before[2 * (K - 1)];
#pragma unroll
            for (int j = 0; j < 2 * (K - 1); j++) before[j] = row<V>(c, b, r - 2 * (K - 1) + j, e);
#pragma unroll
            for (int j = 0; j < K - 1; j++) {
                const int k = j - (K - 1);
                inner[j] = inner_at<K, V, SILU>(weights, before + j,
                                                output(r + k - future, (int64_t)k * E));
                rows[j] = before[K - 1 + j];
            }
        }
        fetch(r);
#pragma unroll 1
        for (; r < end; r += AHEAD) {
            Lanes<V> own[AHEAD], to[AHEAD] = {};
            const int s = r - (K - 1);
#pragma unroll
            for (int k = 0; k < AHEAD; k++) {
                rows[K - 1 + k] = next[k];
                own[k] = next_dy[k];
                if (a.add_x && (unsigned)(s + k) < (unsigned)L) to[k] = load<V>(dx + k * E);
            }
            if (r + AHEAD < end) fetch(r + AHEAD);
#pragma unroll
            for (int k = 0; k < AHEAD; k++) {
                inner[K - 1 + k] = inner_at<K, V, SILU>(weights, rows + k, own[k]);
#pragma unroll
                for (int v = 0; v < V; v++) bias.of[v] += inner[K - 1 + k].of[v];
#pragma unroll
                for (int j = 0; j < K; j++)
#pragma unroll
                    for (int v = 0; v < V; v++) {
                        taps[j].of[v] += inner[K - 1 + k].of[v] * rows[k + j].of[v];
                        to[k].of[v] += inner[k + K - 1 - j].of[v] * weights.tap[j].of[v];
                    }
                if (a.dx && (unsigned)(s + k) < (unsigned)L) store<V>(dx + k * E, to[k]);
            }
            if (s < 0 && a.d_state) {
#pragma unroll
                for (int k = 0; k < AHEAD; k++)
                    if (s + k < 0 && s + k >= -H)
                        put(a.d_state + ((int64_t)b * H + H + s + k) * E + e, to[k], a.add_state);
            }
            dx += AHEAD * E;
#pragma unroll
            for (int j = 0; j < K - 1; j++) {
                rows[j] = rows[AHEAD + j];
                inner[j] = inner[AHEAD + j];
            }
        }
    }
    __shared__ Lanes<V> sums[K + 1][WARP];
    for (int turn = 0; turn < LINES; turn++) {
        if (turn == at.line)
            for (int j = 0; j <= K; j++) {
                Lanes<V> *const sum = &sums[j][threadIdx.x % WARP], own = j < K ? taps[j] : bias;
                for (int v = 0; v < V; v++) sum->of[v] = (turn ? sum->of[v] : 0.0f) + own.of[v];
            }
        __syncthreads();
    }
    if (at.e >= c.E) return;
    for (int j = at.line; j <= K; j += LINES) {
        const int64_t given = j - (K - c.K);
        const Lanes<V> sum = sums[j][threadIdx.x % WARP];
        if (j == K) {
            if (a.bias) store<V>(a.bias + slice * c.E + e, sum);
        } else if (a.taps && given >= 0) {
            store<V>(a.taps + (slice * c.K + given) * c.E + e, sum);
        }
    }
}

/* Backward keeps more rows, so it takes fewer channels a thread: registers are what limits how many
 * threads wait for memory at once. */
struct TapKernels {
    int taps, v, backward_v;
    void (*forward[2])(Convolution, float *, int64_t); /* without and with SiLU */
    void (*backward[2])(Convolution, Adjoint);
};
#define TAP_ROW(k, v, backward_v)                                                                  \
    {                                                                                              \
        k, v, backward_v, {forward_kernel<k, v, false>, forward_kernel<k, v, true>}, {             \
            backward_kernel<k, backward_v, false>, backward_kernel<k, backward_v, true>            \
        }                                                                                          \
    }
static const TapKernels kernels[] = {TAP_ROW(2, 4, 2),        TAP_ROW(3, 4, 2), TAP_ROW(4, 4, 2),
                                     TAP_ROW(2, 1, 1),        TAP_ROW(3, 1, 1), TAP_ROW(4, 1, 1),
                                     TAP_ROW(TAPS_MOST, 1, 1)};

/* Fewest taps first; four channels at a time where they come in fours. */
static const TapKernels *kernels_for(const Convolution &c) {
    for (const TapKernels &row : kernels)
        if (c.E % row.v == 0 && (row.taps == c.K || row.taps == TAPS_MOST)) return &row;
    return NULL;
}

static Convolution convolution_of(const OpCall *call) {
    const Plan plan = short_convolution_plan(call);
    Convolution c = {plan.B, plan.L, plan.E, plan.K, plan.past};
    c.x = call->in[0]->data;
    c.w = call->in[1]->data;
    c.bias = data_of(call, 2);
    c.state = data_of(call, 3);
    c.silu = static_cast<const ShortConvolution *>(call->attributes)->activation == ACTIVATION_SILU;
    return c;
}

static dim3 grid_of(const Convolution &c, int64_t blocks, int v) {
    return dim3((unsigned)blocks, blocks_for(c.E, (int64_t)v * WARP));
}

static void forward(const OpCall *call, const Run *run) {
    Convolution c = convolution_of(call);
    const TapKernels *own = kernels_for(c);
    const int64_t L = c.L, E = c.E, H = c.K - 1, chunks = (L + STRETCH - 1) / STRETCH;
    if (c.state) {
        float *const next = call->out[1]->data;
        for_each(run, c.B * H * E, [=] __device__(int64_t i) {
            next[i] = row<1>(c, i / E / H, L - H + i / E % H, i % E).of[0];
        });
    }
    c.past += own->taps - c.K;
    launch_named("short_convolution", run, own->forward[c.silu],
                 grid_of(c, (c.B * chunks + LINES - 1) / LINES, own->v), THREADS, 0, c,
                 call->out[0]->data, chunks);
}

/* Turns of a sequence, backward. */
static int turns_of(const Convolution &c) {
    return (int)((c.L + kernels_for(c)->taps - 1 + AHEAD - 1) / AHEAD);
}
/* From the shape alone: enough blocks to fill a GPU, LEAST_TURNS in each line. */
static int64_t slices_of(const Convolution &c) {
    const int64_t channels = grid_of(c, 1, kernels_for(c)->backward_v).y;
    const int64_t wanted = channels < BLOCKS ? BLOCKS / channels : 1;
    const int64_t least = LINES * LEAST_TURNS, most = (c.B * turns_of(c) + least - 1) / least;
    return wanted < most ? wanted : most;
}

/* The cotangent of the rows that become the next state: the sequence's last ones, and of the state
 * where the sequence is shorter. */
static void add_next(const Run *run, const Convolution &c, const Adjoint &a, const float *d_next) {
    const int64_t L = c.L, E = c.E, H = c.K - 1;
    float *const dx = a.dx, *const d_state = a.d_state;
    for_each(run, c.B * H * E, [=] __device__(int64_t i) {
        const int64_t b = i / E / H, s = L - H + i / E % H, e = i % E;
        if (s >= 0 && dx) dx[(b * L + s) * E + e] += d_next[i];
        if (s < 0 && d_state) d_state[(b * H + H + s) * E + e] += d_next[i];
    });
}

static void backward(const OpCall *call, const Run *run) {
    Convolution c = convolution_of(call);
    const TapKernels *own = kernels_for(c);
    float *const dw = gradient_of(call, 1), *const bias = gradient_of(call, 2);
    Carver carver = {static_cast<unsigned char *>(call->scratch)};
    Adjoint a = {};
    a.dy = call->out[0]->gradient;
    a.dx = gradient_of(call, 0);
    a.d_state = gradient_of(call, 3);
    a.add_x = call->accumulate[0];
    a.add_state = call->accumulate[3];
    a.turns = turns_of(c);
    a.slices = slices_of(c);
    if (dw) a.taps = carver.take<float>(a.slices * c.K * c.E);
    if (bias) a.bias = carver.take<float>(a.slices * c.E);
    c.past += own->taps - c.K;
    launch_named("short_convolution backward", run, own->backward[c.silu],
                 grid_of(c, a.slices, own->backward_v), THREADS, 0, c, a);
    if (c.state && call->out[1]->gradient) add_next(run, c, a, call->out[1]->gradient);
    if (dw) add_slices(run, (const float *)a.taps, c.K * c.E, a.slices, dw, call->accumulate[1]);
    if (bias) add_slices(run, (const float *)a.bias, c.E, a.slices, bias, call->accumulate[2]);
}

static size_t scratch(const OpCall *call, Phase phase) {
    if (phase == PHASE_FORWARD) return 0;
    const Convolution c = convolution_of(call);
    const int64_t slices = slices_of(c);
    return carved(slices * c.K * c.E, sizeof(float)) + carved(slices * c.E, sizeof(float));
}

CUDA_OP(short_convolution, {forward, backward}, scratch);
