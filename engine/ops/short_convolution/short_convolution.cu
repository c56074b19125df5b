/* A thread owns V neighbouring channels and stretches of the time axis, along which a window of
 * rows slides through its registers, so that a row is read about once. Bound by memory: 8 bytes an
 * element forward, 12 backward. Numbers of taps without a kernel of their own use that of TAPS_MOST
 * with zeros before the first tap. */
#include "engine/ops/short_convolution/short_convolution.h"

#include "engine/cuda/activation.cuh"
#include "engine/cuda/columns.cuh"
#include "engine/ops/short_convolution/short_convolution_plan.h"

enum {
    STRETCH = 16, /* outputs of a thread in a row */
    AHEAD = 4,    /* rows that it loads at once */
    LINES = 4,    /* stretches of a block, a warp of channels each */
    THREADS = LINES * WARP,
    BLOCKS = 2112, /* wanted backward: 16 for each multiprocessor of the largest GPU at hand */
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

template <int K, int V>
KERNEL void __launch_bounds__(THREADS)
    forward_kernel(Convolution c, float *__restrict__ y, int64_t chunks) {
    const Place<V> at;
    const int64_t unit = (int64_t)blockIdx.x * LINES + at.line, b = unit / chunks;
    if (at.e >= c.E || b >= c.B) return;
    const Weights<K, V> weights(c, at.e);
    const int64_t from = unit % chunks * STRETCH;
    Lanes<V> window[K - 1 + AHEAD];
    for (int j = 0; j < K - 1; j++) window[j] = row<V>(c, b, from - c.past + j, at.e);
#pragma unroll
    for (int i = 0; i < STRETCH; i += AHEAD) {
        for (int k = 0; k < AHEAD; k++)
            window[K - 1 + k] = row<V>(c, b, from + i + k - c.past + K - 1, at.e);
        for (int k = 0; k < AHEAD; k++) {
            Lanes<V> value = weights.sum(window + k);
            if (c.silu)
                for (int v = 0; v < V; v++) value.of[v] *= sigmoid_of(value.of[v]);
            const int64_t t = from + i + k;
            if (t < c.L) store<V>(y + (b * c.L + t) * c.E + at.e, value);
        }
        for (int j = 0; j < K - 1; j++) window[j] = window[AHEAD + j];
    }
}

struct Adjoint {
    const float *dy, *d_next; /* d_next: cotangent of the rows that become the next state */
    float *dx, *d_state;      /* NULL: not wanted, like the sums */
    bool add_x, add_state;
    float *taps, *bias; /* sums of a slice: (slices, K, E) and (slices, E) */
    int64_t first;      /* of the rows whose cotangents are wanted: 0, or 1 - K with a state */
    int64_t chunks, slices;
};

/* inner[t] is the cotangent of output t before the activation; that of row s is
 * sum_j w[j] inner[s + past - j], and tap j's is sum_t inner[t] x[t - past + j]. */
template <int K, int V>
__device__ static inline Lanes<V> inner_at(const Convolution &c, const Weights<K, V> &weights,
                                           const Lanes<V> *rows, const Lanes<V> &dy) {
    Lanes<V> inner = dy;
    if (!c.silu) return inner;
    const Lanes<V> before = weights.sum(rows);
    for (int v = 0; v < V; v++) inner.of[v] *= activation_slope(ACTIVATION_SILU, before.of[v]);
    return inner;
}

template <int V>
__device__ static inline void write_row(const Convolution &c, const Adjoint &a, int64_t b,
                                        int64_t s, int64_t e, Lanes<V> value) {
    const int64_t H = c.K - 1;
    if (a.d_next && s >= c.L - H) {
        const Lanes<V> next = load<V>(a.d_next + (b * H + s - (c.L - H)) * c.E + e);
        for (int v = 0; v < V; v++) value.of[v] += next.of[v];
    }
    float *const to = s >= 0 ? a.dx : a.d_state;
    if (!to) return;
    float *const place = to + (s >= 0 ? b * c.L + s : b * H + H + s) * c.E + e;
    if (s >= 0 ? a.add_x : a.add_state) {
        const Lanes<V> old = load<V>(place);
        for (int v = 0; v < V; v++) value.of[v] += old.of[v];
    }
    store<V>(place, value);
}

template <int K, int V>
KERNEL void __launch_bounds__(THREADS) backward_kernel(Convolution c, Adjoint a) {
    const Place<V> at;
    const int64_t future = K - 1 - c.past, e = at.e < c.E ? at.e : 0; /* all reach the barrier */
    const Weights<K, V> weights(c, e);
    Lanes<V> taps[K] = {}, bias = {};
    const int64_t units = c.B * a.chunks, slice = blockIdx.x;
    const int64_t to = at.e < c.E ? (slice + 1) * units / a.slices : 0;
    for (int64_t unit = slice * units / a.slices + at.line; unit < to; unit += LINES) {
        const int64_t b = unit / a.chunks, from = a.first + unit % a.chunks * STRETCH;
        Lanes<V> rows[K - 1 + AHEAD], inner[K - 1 + AHEAD] = {};
        for (int j = 0; j < K - 1; j++) rows[j] = row<V>(c, b, from - (K - 1) + j, e);
        for (int i = 0; i < STRETCH + K - 1; i += AHEAD) {
            Lanes<V> dy[AHEAD];
            for (int k = 0; k < AHEAD; k++) {
                const int64_t t = from - future + i + k;
                rows[K - 1 + k] = row<V>(c, b, from + i + k, e);
                dy[k] = t >= 0 && t < c.L ? load<V>(a.dy + (b * c.L + t) * c.E + e) : Lanes<V>{};
            }
            for (int k = 0; k < AHEAD; k++) {
                const int64_t t = from - future + i + k, s = from + i + k - (K - 1);
                inner[K - 1 + k] = inner_at<K, V>(c, weights, rows + k, dy[k]);
                if (t >= from && t < from + STRETCH) /* each output once */
                    for (int v = 0; v < V; v++) {
                        bias.of[v] += inner[K - 1 + k].of[v];
                        for (int j = 0; j < K; j++)
                            taps[j].of[v] += inner[K - 1 + k].of[v] * rows[k + j].of[v];
                    }
                if (s < from || s >= from + STRETCH || s >= c.L) continue;
                Lanes<V> value = {};
                for (int j = 0; j < K; j++)
                    for (int v = 0; v < V; v++)
                        value.of[v] += inner[k + K - 1 - j].of[v] * weights.tap[j].of[v];
                write_row<V>(c, a, b, s, e, value);
            }
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
    void (*forward)(Convolution, float *, int64_t);
    void (*backward)(Convolution, Adjoint);
};
#define TAP_ROW(k, v, backward_v)                                                                  \
    { k, v, backward_v, forward_kernel<k, v>, backward_kernel<k, backward_v> }
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
    launch_named("short_convolution", run, own->forward,
                 grid_of(c, (c.B * chunks + LINES - 1) / LINES, own->v), THREADS, 0, c,
                 call->out[0]->data, chunks);
}

/* From the shape alone: enough blocks to fill a GPU, at least LINES stretches in each. */
static int64_t slices_of(const Convolution &c, int64_t chunks) {
    const TapKernels *own = kernels_for(c);
    const int64_t channels = grid_of(c, 1, own->backward_v).y;
    const int64_t wanted = (BLOCKS + channels - 1) / channels;
    const int64_t most = (c.B * chunks + LINES - 1) / LINES;
    return wanted < most ? wanted : most;
}

static void backward(const OpCall *call, const Run *run) {
    Convolution c = convolution_of(call);
    const TapKernels *own = kernels_for(c);
    float *const dw = gradient_of(call, 1), *const bias = gradient_of(call, 2);
    Carver carver = {static_cast<unsigned char *>(call->scratch)};
    Adjoint a = {};
    a.dy = call->out[0]->gradient;
    a.d_next = c.state ? call->out[1]->gradient : NULL;
    a.dx = gradient_of(call, 0);
    a.d_state = gradient_of(call, 3);
    a.add_x = call->accumulate[0];
    a.add_state = call->accumulate[3];
    a.first = a.d_state ? 1 - c.K : 0;
    a.chunks = (c.L - a.first + STRETCH - 1) / STRETCH;
    a.slices = slices_of(c, a.chunks);
    if (dw) a.taps = carver.take<float>(a.slices * c.K * c.E);
    if (bias) a.bias = carver.take<float>(a.slices * c.E);
    c.past += own->taps - c.K;
    launch_named("short_convolution backward", run, own->backward,
                 grid_of(c, a.slices, own->backward_v), THREADS, 0, c, a);
    if (dw) add_slices(run, (const float *)a.taps, c.K * c.E, a.slices, dw, call->accumulate[1]);
    if (bias) add_slices(run, (const float *)a.bias, c.E, a.slices, bias, call->accumulate[2]);
}

static size_t scratch(const OpCall *call, Phase phase) {
    if (phase == PHASE_FORWARD) return 0;
    const Convolution c = convolution_of(call);
    const int64_t slices = slices_of(c, (c.L + c.K - 1 + STRETCH - 1) / STRETCH);
    return carved(slices * c.K * c.E, sizeof(float)) + carved(slices * c.E, sizeof(float));
}

CUDA_OP(short_convolution, {forward, backward}, scratch);
