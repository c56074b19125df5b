/* A block walks time alone with ROWS sequences of one head, so nothing waits between blocks. R lies
 * in shared memory where it fits (some 110 units) and is read from the second-level cache by every
 * step where it does not. The gradients of R and of the bias are products and sums after the walk.
 */
#include "engine/cuda/activation.cuh"
#include "engine/cuda/columns.cuh"
#include "engine/cuda/product.h"
#include "engine/ops/slstm/slstm_plan.h"

enum { MOST_THREADS = 512, MOST_ROWS = 4, ENOUGH_BLOCKS = 256 };

struct SlstmCall {
    SlstmPlan plan;
    bool kept; /* R is in shared memory */
    const float *in_if, *in_zo, *w, *bias, *state;
    float *h, *next, *notes; /* next and notes: NULL where not wanted */
    /* backward; w is then R transposed, (H, 4 U, U) */
    const float *slope;
    float *gates; /* gradients, (B, L, H, 4, U) */
};

/* Where a block is, and its shared memory: R, the rows that meet it, what they make, and states. */
template <int ROWS> struct SlstmBlock {
    const SlstmCall &x;
    int U, head, count; /* count: sequences */
    int64_t first;
    float *rows, *sums, *states;
    const float *w;
    /* terms: numbers of a row that meets R; kinds: states of a unit */
    __device__ SlstmBlock(const SlstmCall &x, int terms) : x(x) {
        const SlstmPlan &p = x.plan;
        U = (int)p.U;
        head = (int)(blockIdx.x % p.H);
        first = blockIdx.x / p.H * ROWS;
        count = min((int)(p.B - first), (int)ROWS);
        rows = shared_memory<float>();
        sums = rows + terms * ROWS;
        states = sums + 4 * U * ROWS;
        w = x.w + (int64_t)head * U * 4 * U;
        if (!x.kept) return;
        float *const own = states + 3 * U * ROWS;
        for (int i = (int)threadIdx.x; i < 4 * U * U; i += (int)blockDim.x) own[i] = w[i];
        w = own;
    }
    static size_t bytes(int64_t U, int64_t terms, bool kept) {
        return (size_t)((terms + 7 * U) * ROWS + (kept ? 4 * U * U : 0)) * sizeof(float);
    }
    /* sum[r] = sum over k < terms of rows[k][r] w[k * width] */
    __device__ void multiply(int terms, const float *rows, const float *w, int width,
                             float (&sum)[ROWS]) const {
#pragma unroll 4
        for (int k = 0; k < terms; k++) {
            const Lanes<ROWS> row = load<ROWS>(rows + k * ROWS);
            const float weight = w[(int64_t)k * width];
#pragma unroll
            for (int r = 0; r < ROWS; r++) sum[r] += row.of[r] * weight;
        }
    }
    /* body(unit, row) for all of the block's, a thread each */
    template <class Body> __device__ void each_cell(const Body &body) const {
        for (int i = (int)threadIdx.x; i < U * count; i += (int)blockDim.x) body(i % U, i / U);
    }
    /* Places in (B, L, H U), in notes and in a state (B, 4, H U). */
    __device__ int64_t unit_at(int r, int64_t t, int u) const {
        return (((first + r) * x.plan.L + t) * x.plan.H + head) * U + u;
    }
    __device__ int64_t note_at(int r, int64_t t, int u) const {
        return (((first + r) * x.plan.H + head) * x.plan.L + t) * SLSTM_NOTES * U + u;
    }
    __device__ int64_t state_at(int r, int which, int u) const {
        return (((first + r) * 4 + which) * x.plan.H + head) * U + u;
    }
};

/* c, n and m of a unit. */
struct SlstmState {
    float c, n, m;
};

/* One token of one unit, from its gates before activation. Returns h. */
__device__ static inline float advance(SlstmState &s, const float (&G)[4], float *note, int U) {
    const float z = tanh_fast(G[2]), o = sigmoid_fast(G[3]);
    const float kept = s.m - softplus_of(-G[1]);
    const float m = s.n == 0.0f ? G[0] : fmaxf(G[0], kept);
    const float add = expf(G[0] - m), keep = expf(fminf(0.0f, kept - m));
    s = {keep * s.c + add * z, keep * s.n + add, m};
    if (note) {
        note[SLSTM_NOTE_I * U] = add;
        note[SLSTM_NOTE_F * U] = keep;
        note[SLSTM_NOTE_SLOPE * U] = sigmoid_fast(-G[1]);
        note[SLSTM_NOTE_Z * U] = z;
        note[SLSTM_NOTE_O * U] = o;
        note[SLSTM_NOTE_C * U] = s.c;
        note[SLSTM_NOTE_N * U] = s.n;
    }
    return o * s.c / s.n;
}

template <int ROWS> KERNEL void __launch_bounds__(MOST_THREADS) walk(SlstmCall x) {
    const SlstmBlock<ROWS> own(x, (int)x.plan.U);
    const int U = own.U, last = (int)x.plan.L - 1;
    const float *const bias = x.bias + own.head * 4 * U;
    for (int i = (int)threadIdx.x; i < U * ROWS; i += (int)blockDim.x) own.rows[i] = 0;
    __syncthreads();
    own.each_cell([&](int u, int r) {
        for (int which = 1; which < 4; which++)
            own.states[((which - 1) * U + u) * ROWS + r] =
                x.state ? x.state[own.state_at(r, which, u)] : 0.0f;
        if (x.state) own.rows[u * ROWS + r] = x.state[own.state_at(r, 0, u)];
    });
    for (int t = 0; t <= last; t++) {
        __syncthreads();
        for (int g = (int)threadIdx.x; g < 4 * U; g += (int)blockDim.x) {
            float sum[ROWS] = {};
            if (t > 0 || x.state) own.multiply(U, own.rows, own.w + g, 4 * U, sum);
            for (int r = 0; r < ROWS; r++) own.sums[g * ROWS + r] = sum[r];
        }
        __syncthreads();
        own.each_cell([&](int u, int r) {
            const int64_t at = own.unit_at(r, t, u), in = 2 * at - u;
            float G[4], *const state = own.states + u * ROWS + r;
            for (int gate = 0; gate < 4; gate++)
                G[gate] = own.sums[(gate * U + u) * ROWS + r] + bias[gate * U + u] +
                          (gate < 2 ? x.in_if : x.in_zo)[in + gate % 2 * U];
            SlstmState s = {state[0], state[U * ROWS], state[2 * U * ROWS]};
            const float h = advance(s, G, x.notes ? x.notes + own.note_at(r, t, u) : NULL, U);
            state[0] = s.c;
            state[U * ROWS] = s.n;
            state[2 * U * ROWS] = s.m;
            own.rows[u * ROWS + r] = h;
            x.h[at] = h;
            if (t < last || !x.next) return;
            x.next[own.state_at(r, 0, u)] = h;
            x.next[own.state_at(r, 1, u)] = s.c;
            x.next[own.state_at(r, 2, u)] = s.n;
            x.next[own.state_at(r, 3, u)] = s.m;
        });
    }
}

/* Backward, one token of one unit: the gates' gradients d. dc and dn: of the states behind the
 * token, then of those before it. */
__device__ static inline void retreat(const float *note, int U, float c_before, float n_before,
                                      float h, float dy, float &dc, float &dn, float (&d)[4]) {
    const float add = note[SLSTM_NOTE_I * U], keep = note[SLSTM_NOTE_F * U];
    const float z = note[SLSTM_NOTE_Z * U], o = note[SLSTM_NOTE_O * U];
    const float e = dy / note[SLSTM_NOTE_N * U];
    const float to_c = dc + e * o, to_n = dn - e * h;
    d[0] = add * (z * to_c + to_n);
    d[1] = keep * (c_before * to_c + n_before * to_n) * note[SLSTM_NOTE_SLOPE * U];
    d[2] = to_c * add * (1.0f - z * z);
    d[3] = dy * h * (1.0f - o);
    dc = keep * to_c;
    dn = keep * to_n;
}

template <int ROWS> KERNEL void __launch_bounds__(MOST_THREADS) walk_back(SlstmCall x) {
    const SlstmBlock<ROWS> own(x, 4 * (int)x.plan.U);
    const int U = own.U;
    /* of dc and dn; the sums are the four gates' parts of dh */
    for (int i = (int)threadIdx.x; i < 4 * U * ROWS; i += (int)blockDim.x) {
        own.rows[i] = own.sums[i] = 0;
        if (i < 2 * U * ROWS) own.states[i] = 0;
    }
    for (int64_t t = x.plan.L - 1; t >= 0; t--) {
        __syncthreads();
        own.each_cell([&](int u, int r) {
            const int64_t at = own.unit_at(r, t, u);
            const float *const note = x.notes + own.note_at(r, t, u);
            const float *const earlier = note - SLSTM_NOTES * U;
            float c_before = 0, n_before = 0, d[4], dy = x.slope[at];
            if (t > 0) {
                c_before = earlier[SLSTM_NOTE_C * U];
                n_before = earlier[SLSTM_NOTE_N * U];
            } else if (x.state) {
                c_before = x.state[own.state_at(r, 1, u)];
                n_before = x.state[own.state_at(r, 2, u)];
            }
            for (int gate = 0; gate < 4; gate++) dy += own.sums[(gate * U + u) * ROWS + r];
            float *const states = own.states + u * ROWS + r;
            retreat(note, U, c_before, n_before, x.h[at], dy, states[0], states[U * ROWS], d);
            for (int gate = 0; gate < 4; gate++) {
                own.rows[(gate * U + u) * ROWS + r] = d[gate];
                x.gates[4 * (at - u) + gate * U + u] = d[gate];
            }
        });
        __syncthreads();
        for (int i = (int)threadIdx.x; i < 4 * U && t > 0; i += (int)blockDim.x) {
            const int gate = i / U, k = i % U;
            float sum[ROWS] = {};
            own.multiply(U, own.rows + gate * U * ROWS, own.w + gate * U * U + k, U, sum);
            for (int r = 0; r < ROWS; r++) own.sums[i * ROWS + r] = sum[r];
        }
    }
}

static SlstmCall call_of(const OpCall *call, Phase phase) {
    SlstmCall x = {};
    x.plan = slstm_plan(call, phase);
    x.in_if = call->in[SLSTM_IF]->data;
    x.in_zo = call->in[SLSTM_ZO]->data;
    x.w = call->in[SLSTM_R]->data;
    x.bias = call->in[SLSTM_BIAS]->data;
    x.state = data_of(call, SLSTM_STATE);
    x.h = call->out[SLSTM_H]->data;
    x.next = call->outputs > 1 ? call->out[SLSTM_NEXT]->data : NULL;
    x.notes = call->saves ? call->saved[0]->data : NULL;
    return x;
}

static unsigned threads_for(int64_t U) {
    const int64_t threads = (4 * U + WARP - 1) / WARP * WARP;
    return (unsigned)(threads < MOST_THREADS ? threads : (int64_t)MOST_THREADS);
}

/* body.operator()<ROWS>(): several sequences a block where there are blocks enough. */
template <class Body> static void with_rows(const SlstmCall &x, const Body &body) {
    if (x.plan.B * x.plan.H < ENOUGH_BLOCKS)
        body.template operator()<1>();
    else
        body.template operator()<MOST_ROWS>();
}

static void forward(const OpCall *call, const Run *run) {
    const SlstmCall given = call_of(call, PHASE_FORWARD);
    with_rows(given, [&]<int ROWS>() {
        using Block = SlstmBlock<ROWS>;
        SlstmCall x = given;
        const int64_t U = x.plan.U;
        x.kept = Block::bytes(U, U, true) <= most_shared(run);
        LAUNCH(run, walk<ROWS>, blocks_for(x.plan.B, ROWS) * (unsigned)x.plan.H, threads_for(U),
               Block::bytes(U, U, x.kept), x);
    });
}

/* Gradients of R and of the bias, from those of the gates. before: room for (B L, H U). */
static void weight_gradients(const OpCall *call, const Run *run, const SlstmCall &x, float *before,
                             float *sums) {
    const SlstmPlan &p = x.plan;
    const int64_t rows = p.B * p.L, D = p.H * p.U, L = p.L;
    const float *const h = x.h, *const state = x.state;
    float *const dw = gradient_of(call, SLSTM_R), *const db = gradient_of(call, SLSTM_BIAS);
    const Divisor units = divide_by(D), steps = divide_by(L);
    if (db)
        sum_columns(run, MatrixTerm{x.gates, 4 * D}, rows, 4 * D, db, call->accumulate[SLSTM_BIAS],
                    sums);
    if (!dw) return;
    for_each(run, rows * D, [=] __device__(int64_t i) {
        const int64_t row = units.of(i), b = steps.of(row);
        before[i] = row > b * L ? h[i - D] : state ? state[b * 4 * D + i - row * D] : 0.0f;
    });
    for (int64_t head = 0; head < p.H; head++) { /* before^T gates */
        Product product_of = {};
        product_of.transposed_a = true;
        product_of.m = p.U;
        product_of.n = product_of.ldc = 4 * p.U;
        product_of.k = rows;
        product_of.a = before + head * p.U;
        product_of.lda = D;
        product_of.b = x.gates + head * 4 * p.U;
        product_of.ldb = 4 * D;
        product_of.c = dw + head * p.U * 4 * p.U;
        product_of.start = call->accumulate[SLSTM_R] ? product_of.c : NULL;
        product(run, product_of);
    }
}

/* The half of the gates' gradients that belongs to one input. */
static void give(const OpCall *call, const Run *run, const SlstmCall &x, int input) {
    float *const to = gradient_of(call, input);
    const float *const gates = x.gates + (input == SLSTM_ZO ? 2 * x.plan.U : 0);
    const int64_t half = 2 * x.plan.U;
    const Divisor heads = divide_by(half);
    const bool add = call->accumulate[input];
    if (to)
        for_each(run, x.plan.B * x.plan.L * x.plan.H * half,
                 [=] __device__(int64_t i) { put(to + i, gates[i + heads.of(i) * half], add); });
}

static void backward(const OpCall *call, const Run *run) {
    SlstmCall given = call_of(call, PHASE_BACKWARD);
    const int64_t H = given.plan.H, U = given.plan.U, rows = given.plan.B * given.plan.L;
    Carver carver = {static_cast<unsigned char *>(call->scratch)};
    float *const turned = carver.take<float>(H * 4 * U * U);
    float *const before = carver.take<float>(rows * H * U);
    given.gates = carver.take<float>(rows * H * 4 * U);
    given.slope = call->out[SLSTM_H]->gradient;
    const float *const w = given.w;
    const Divisor units = divide_by(U), gates = divide_by(4 * U);
    for_each(run, H * 4 * U * U, [=] __device__(int64_t i) {
        const int64_t row = units.of(i), k = i - row * U, head = gates.of(row);
        turned[i] = w[(head * U + k) * 4 * U + row - head * 4 * U];
    });
    given.w = turned;
    with_rows(given, [&]<int ROWS>() {
        using Block = SlstmBlock<ROWS>;
        SlstmCall x = given;
        x.kept = Block::bytes(U, 4 * U, true) <= most_shared(run);
        LAUNCH(run, walk_back<ROWS>, blocks_for(x.plan.B, ROWS) * (unsigned)H, threads_for(U),
               Block::bytes(U, 4 * U, x.kept), x);
    });
    give(call, run, given, SLSTM_IF);
    give(call, run, given, SLSTM_ZO);
    weight_gradients(call, run, given, before, carver.take<float>(column_slices(rows) * 4 * H * U));
}

static size_t scratch(const OpCall *call, Phase phase) {
    if (phase == PHASE_FORWARD) return 0;
    const SlstmPlan p = slstm_plan(call, phase);
    const int64_t rows = p.B * p.L, D = p.H * p.U;
    return carved(4 * D * p.U, sizeof(float)) + carved(rows * D, sizeof(float)) +
           carved(rows * 4 * D, sizeof(float)) + column_scratch(rows, 4 * D);
}

CUDA_OP(slstm, {forward, backward}, scratch);
