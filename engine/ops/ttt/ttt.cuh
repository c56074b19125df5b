/* One mini-batch of one head on a GPU: a block does what ttt_batch_simd.h does with vectors, in the
 * same panels, in shared memory where all of a block's numbers fit and otherwise in scratch. Every
 * function ends with a barrier. */
#ifndef LONGHAUL_OPS_TTT_CUH
#define LONGHAUL_OPS_TTT_CUH

#include "engine/cuda/activation.cuh"
#include "engine/ops/ttt/ttt_inputs.cuh"
#include "engine/ops/ttt/ttt_work.h"

namespace {

enum {
    THREADS = 256,
    MOST_BLOCKS = 512 /* about: each has scratch, and backward partial sums, of its own */
};

/* A call's tensors, and where the blocks work. */
struct Inner : TttInner {
    const float *dy;
    float *y, *saved, *dq, *dk, *dv, *drate, *parts;
    bool add_q, add_k, add_v, add_rate;
    int64_t blocks; /* of one head, which take its sequences in turn */
    float *scratch; /* NULL: shared memory */
    int64_t floats; /* of a block */
};

/* What a block knows about its head. */
struct Head {
    const TttPlan &plan;
    TttWork work;
    int p;
    int64_t number;
    const float *gamma, *beta;
};

/* A where it lies, by strides: [i][k], or the transpose of what lies as [k][i]. */
struct Left {
    const float *a;
    int64_t row, step;
};

template <int R>
__device__ void multiply_rows(int rows, int columns, int k, Left left, const float *b,
                              int64_t b_row, float *c, int64_t c_row, bool add) {
    const int items = (rows + R - 1) / R * columns;
    for (int item = (int)threadIdx.x; item < items; item += THREADS) {
        const int column = item % columns, first = item / columns * R;
        float sum[R] = {};
        const float *a[R];
        for (int i = 0; i < R; i++) a[i] = left.a + min(first + i, rows - 1) * left.row;
        for (int n = 0; n < k; n++) {
            const float x = b[n * b_row + column];
            for (int i = 0; i < R; i++) sum[i] += a[i][n * left.step] * x;
        }
        for (int i = 0; i < R && first + i < rows; i++)
            put(c + (first + i) * c_row + column, sum[i], add);
    }
    __syncthreads();
}

/* c (rows, columns) = a b, or c += a b; a thread takes so many rows that all have some. */
__device__ static void multiply(int64_t rows, int64_t columns, int64_t k, Left left, const float *b,
                                int64_t b_row, float *c, int64_t c_row, bool add) {
    const int m = (int)rows, n = (int)columns, depth = (int)k;
    if (m * n >= 8 * THREADS)
        multiply_rows<8>(m, n, depth, left, b, b_row, c, c_row, add);
    else if (m * n >= 4 * THREADS)
        multiply_rows<4>(m, n, depth, left, b, b_row, c, c_row, add);
    else
        multiply_rows<1>(m, n, depth, left, b, b_row, c, c_row, add);
}

/* body(channel, lane) for a panel. */
template <class Body> __device__ void for_panel(int64_t channels, int lanes, Body body) {
    for (int i = (int)threadIdx.x; i < (int)channels * lanes; i += THREADS)
        body(i / lanes, i % lanes);
    __syncthreads();
}

/* Threads share the channels of a lane: thread t takes lane t % p and, of `slots`, every channel
 * from slot t / p on; those behind the last slot take none. */
struct Slot {
    int p, lane, first, slots;
    bool active;
};
__device__ static Slot slot_of(int p) {
    const int first = (int)threadIdx.x / p, slots = THREADS / p;
    return {p, (int)threadIdx.x % p, first, slots, first < slots};
}

/* Sum over the slots of a lane, in every thread of it. */
__device__ static float sum_slots(const Slot &slot, float x) {
    __shared__ float space[THREADS];
    space[threadIdx.x] = x;
    __syncthreads();
    float sum = 0;
    for (int i = 0; i < slot.slots; i++) sum += space[i * slot.p + slot.lane];
    __syncthreads(); /* the space may be written again */
    return sum;
}

/* sum over channels of term(channel), a lane's. */
template <class Term> __device__ float sum_channels(const Slot &slot, int64_t f, Term term) {
    float sum = 0;
    for (int c = slot.first; slot.active && c < (int)f; c += slot.slots) sum += term(c);
    return sum_slots(slot, sum);
}
template <class Body> __device__ void for_channels(const Slot &slot, int64_t f, Body body) {
    for (int c = slot.first; slot.active && c < (int)f; c += slot.slots) body(c);
    __syncthreads();
}

/* x becomes (x - mean) / deviation, lane by lane; returns 1 / deviation. */
__device__ static float normalise(const Slot &slot, float *x, int64_t pitch, int64_t f) {
    float *const own = x + slot.lane;
    const float part = 1.0f / (float)f;
    const float mean = part * sum_channels(slot, f, [=](int c) { return own[c * pitch]; });
    const float variance = part * sum_channels(slot, f, [=](int c) {
                               const float d = own[c * pitch] - mean;
                               return d * d;
                           });
    const float inverse = 1.0f / sqrtf(variance + ttt_epsilon);
    for_channels(slot, f, [=](int c) { own[c * pitch] = (own[c * pitch] - mean) * inverse; });
    return inverse;
}

/* p becomes (p - mean p - x mean (p x)) inverse. */
__device__ static void through_norm(const Slot &slot, float *p, int64_t p_pitch, const float *x,
                                    int64_t x_pitch, float inverse, int64_t f) {
    float *const own = p + slot.lane;
    const float *const norm = x + slot.lane;
    const float part = 1.0f / (float)f;
    const float mean = part * sum_channels(slot, f, [=](int c) { return own[c * p_pitch]; });
    const float along =
        part * sum_channels(slot, f, [=](int c) { return own[c * p_pitch] * norm[c * x_pitch]; });
    for_channels(slot, f, [=](int c) {
        own[c * p_pitch] = (own[c * p_pitch] - mean - norm[c * x_pitch] * along) * inverse;
    });
}

/* The activation of a hidden layer with its first two derivatives: x s(y), s the logistic function
 * and y a cubic of x. */
struct Gelu {
    float value, slope, curve;
};
__device__ static Gelu gelu_of(float x) {
    const float y = 2.0f * gelu_argument(x), dy = 2.0f * gelu_argument_slope(x);
    const float s = sigmoid_of(y), ds = s * (1.0f - s), ddy = 6 * 0.0713548163f * x;
    /* far out dy overflows where ds is zero */
    const float bend = ds > 0 ? ds * (2.0f * dy + x * ((1.0f - 2.0f * s) * dy * dy + ddy)) : 0;
    return {x * s, s + (ds > 0 ? x * ds * dy : 0), bend};
}

__device__ static float *block_floats(const Inner &x) {
    return x.scratch ? x.scratch + blockIdx.x * x.floats : shared_memory<float>();
}

__device__ static Head head_of(const Inner &x, Phase phase, int64_t number) {
    TttCarver carver = {block_floats(x), 0};
    const Head head = {x.plan,
                       ttt_take_work(&carver, &x.plan, phase, 1),
                       (int)ttt_lanes(&x.plan),
                       number,
                       x.gamma + number * x.plan.f,
                       x.beta + number * x.plan.f};
    for (int t = (int)threadIdx.x; t < head.p; t += THREADS)
        head.work.tau[t] = t < x.plan.b ? fmaxf(1.0f / (float)(t + 1) + x.index[t], 0.0f) : 0.0f;
    __syncthreads();
    return head;
}

__device__ static int batch_tokens(const TttPlan &plan, int64_t number) {
    return (int)min(plan.L - number * plan.b, plan.b);
}
/* Where a mini-batch's rows of this head begin in (B, L, H f). */
__device__ static int64_t batch_place(const Head &head, int64_t s, int64_t number) {
    const TttPlan &plan = head.plan;
    return ((s * plan.L + number * plan.b) * plan.H + head.number) * plan.f;
}

__device__ static void copy_floats(const float *from, float *to, int64_t count) {
    for (int64_t i = threadIdx.x; i < count; i += THREADS) to[i] = from[i];
    __syncthreads();
}

/* The weights that every sequence starts from. */
__device__ static void first_state(const Inner &x, const Head &head, float *state) {
    const TttPlan &plan = head.plan;
    for (int l = 0; l < plan.layers; l++) {
        const int64_t size = plan.in[l] * plan.out[l];
        copy_floats(x.W[l] + head.number * size, state + plan.W[l], size);
        copy_floats(x.c[l] + head.number * plan.out[l], state + plan.c[l], plan.out[l]);
    }
}

/* Rows of a mini-batch into a panel, channels fastest, so that a warp reads neighbours. */
__device__ static void panel_from_rows(const Head &head, const float *rows, int tokens,
                                       float *panel, int64_t pitch) {
    const int f = (int)head.plan.f;
    const int64_t apart = head.plan.H * f;
    for (int i = (int)threadIdx.x; i < f * head.p; i += THREADS) {
        const int t = i / f, c = i % f;
        panel[c * pitch + t] = t < tokens ? rows[t * apart + c] : 0;
    }
    __syncthreads();
}

__device__ static void batch_load(const Inner &x, const Head &head, int64_t s, int64_t number,
                                  const TttBatch &batch) {
    const TttPlan &plan = head.plan;
    const int tokens = batch_tokens(plan, number), p = head.p;
    const int64_t at = batch_place(head, s, number);
    panel_from_rows(head, x.k + at, tokens, batch.x[0], 2 * p);
    panel_from_rows(head, x.q + at, tokens, batch.x[0] + p, 2 * p);
    panel_from_rows(head, x.v + at, tokens, batch.v, p);
    for (int t = (int)threadIdx.x; t < p; t += THREADS)
        batch.rate[t] = t < tokens ? plan.scale * x.rate[at / plan.f + t * plan.H] : 0;
    __syncthreads();
}

/* Half of a layer's pair, from lane `offset` on: z + c; its activation into the next layer's x. */
__device__ static void activate_half(const Head &head, const TttBatch &batch, int offset) {
    const float *const c = batch.state + head.plan.c[0];
    const int pitch = 2 * head.p;
    for_panel(head.plan.out[0], head.p, [&](int i, int t) {
        float *const z = batch.z[0] + i * pitch + offset + t;
        *z += c[i];
        batch.x[1][i * pitch + offset + t] = gelu_of(*z).value;
    });
}

/* z + c of the last layer, normalised in its place. */
__device__ static void normalise_half(const Head &head, const TttBatch &batch, int offset) {
    const int64_t l = head.plan.layers - 1;
    const float *const c = batch.state + head.plan.c[l];
    float *const z = batch.z[l] + offset;
    const int pitch = 2 * head.p;
    const Slot slot = slot_of(head.p);
    for_channels(slot, head.plan.f, [&](int i) { z[i * pitch + slot.lane] += c[i]; });
    const float inverse = normalise(slot, z, pitch, head.plan.f);
    if (slot.first == 0) batch.inverse[offset + slot.lane] = inverse;
    __syncthreads();
}

/* The loss's gradient where the last layer ends, from its normalised z. */
__device__ static void last_gradient(const Head &head, const TttBatch &batch) {
    const int64_t l = head.plan.layers - 1, f = head.plan.f;
    const int p = head.p;
    for_panel(f, p, [&](int i, int t) {
        const float y = batch.z[l][i * 2 * p + t] * head.gamma[i] + head.beta[i];
        const float target = batch.v[i * p + t] - batch.x[0][i * 2 * p + t];
        batch.g[l][i * p + t] = (y - target) * head.gamma[i];
    });
    const Slot slot = slot_of(p);
    through_norm(slot, batch.g[l], p, batch.z[l], 2 * p, batch.inverse[slot.lane], f);
}

/* W^T x of a layer, for `columns` lanes from `offset` on. */
__device__ static void apply_weights(const Head &head, const TttBatch &batch, int l, int offset,
                                     int columns) {
    const int64_t in = head.plan.in[l], out = head.plan.out[l], pitch = 2 * head.p;
    multiply(out, columns, in, {batch.state + head.plan.W[l], 1, out}, batch.x[l] + offset, pitch,
             batch.z[l] + offset, pitch, false);
}

/* z and g of every layer; the first layer's products of the queries on the way. */
__device__ static void batch_learn(const Head &head, const TttBatch &batch) {
    const TttPlan &plan = head.plan;
    const int p = head.p;
    apply_weights(head, batch, 0, 0, 2 * p);
    if (plan.layers > 1) {
        activate_half(head, batch, 0);
        apply_weights(head, batch, 1, 0, p);
    }
    normalise_half(head, batch, 0);
    last_gradient(head, batch);
    if (plan.layers == 1) return;
    multiply(plan.out[0], p, plan.f, {batch.state + plan.W[1], plan.f, 1}, batch.g[1], p, batch.u,
             p, false);
    for_panel(plan.out[0], p, [&](int i, int t) {
        batch.g[0][i * p + t] = batch.u[i * p + t] * gelu_of(batch.z[0][i * 2 * p + t]).slope;
    });
}

/* E of a key and a query. */
__device__ static float step_size(const Head &head, const TttBatch &batch, int key, int query) {
    return query >= key ? head.work.tau[query] * batch.rate[key] : 0;
}

/* -E (x x^T + 1), [key][query]; or its transpose. */
__device__ static void weigh(const Head &head, const TttBatch &batch, int l, bool transposed) {
    const int p = head.p;
    for_panel(p, p, [&](int j, int t) {
        const float weight = -step_size(head, batch, j, t) * (batch.attention[l][j * p + t] + 1.0f);
        head.work.square[transposed ? t * p + j : j * p + t] = weight;
    });
}

/* The queries' z of a layer gets what the keys before them have taught. */
__device__ static void add_lessons(const Head &head, const TttBatch &batch, int l) {
    const int p = head.p;
    const int64_t in = head.plan.in[l], out = head.plan.out[l];
    const float *const x = batch.x[l];
    multiply(p, p, in, {x, 1, 2 * p}, x + p, 2 * p, batch.attention[l], p, false);
    weigh(head, batch, l, false);
    multiply(out, p, p, {batch.g[l], p, 1}, head.work.square, p, batch.z[l] + p, 2 * p, true);
}

/* The queries' way through the model, up to the normalised z. */
__device__ static void batch_answer(const Head &head, const TttBatch &batch) {
    add_lessons(head, batch, 0);
    if (head.plan.layers > 1) {
        activate_half(head, batch, head.p);
        apply_weights(head, batch, 1, head.p, head.p);
        add_lessons(head, batch, 1);
    }
    normalise_half(head, batch, head.p);
}

/* A panel of the mini-batch's tokens with tokens as rows. */
__device__ static void tokens_as_rows(const Head &head, const float *panel, int64_t pitch,
                                      int64_t channels, float *rows) {
    const int64_t row = head.work.row;
    for_panel(channels, (int)head.plan.b,
              [&](int i, int t) { rows[t * row + i] = panel[i * pitch + t]; });
}

/* c += sums of the first `count` rows. */
__device__ static void add_rows(const Head &head, int64_t channels, int64_t count, float *c) {
    for (int i = (int)threadIdx.x; i < (int)channels; i += THREADS) {
        float sum = 0;
        for (int64_t t = 0; t < count; t++) sum += head.work.rows[t * head.work.row + i];
        c[i] += sum;
    }
    __syncthreads();
}

/* The weights after a whole mini-batch; next may be the state itself. */
__device__ static void batch_step(const Head &head, const TttBatch &batch, float *next) {
    const TttPlan &plan = head.plan;
    const int p = head.p, b = (int)plan.b;
    const int64_t row = head.work.row;
    if (next != batch.state) copy_floats(batch.state, next, plan.P);
    for (int l = 0; l < plan.layers; l++) {
        const int64_t in = plan.in[l], out = plan.out[l];
        const float tau = head.work.tau[b - 1];
        for_panel(out, b, [&](int i, int t) {
            head.work.rows[t * row + i] = -tau * batch.rate[t] * batch.g[l][i * p + t];
        });
        multiply(in, out, b, {batch.x[l], 2 * p, 1}, head.work.rows, row, next + plan.W[l], out,
                 true);
        add_rows(head, out, b, next + plan.c[l]);
    }
}

} // namespace

#endif
