/* The HiPPO cell: a block a sequence walks time. Threads own units (two products over the N
 * coefficients each, w_m from the second-level cache) and coefficients; the running sum of
 * HiPPO-LegS is a scan of affine maps by one warp, each lane a stretch of coefficients. Backward
 * walks back alike; gradients of the weights are sums over tokens afterwards. */
#include "engine/ops/hippo_cell/hippo_cell.h"

#include "engine/cuda/grid.cuh"

enum { THREADS = 256 };

struct Cell {
    int64_t B, L, H, N, clamp;
    const float *drive, *gates, *w_u, *w_m, *A, *b, *h0, *m0;
    const int32_t *position;
    float *h, *m, *units; /* (B, L, H); (L, B, N); (L, B, 2H): tanh and gate */
    float *last_h, *last_m;
    const float *dh;
    float *d_gates, *d_drive; /* scratch (B, L, 2H), (B, L) */
};

static Cell cell_of(const OpCall *call) {
    Cell x = {};
    x.B = extent(call->in[HIPPO_GATES], 0);
    x.L = extent(call->in[HIPPO_GATES], 1);
    x.H = extent(call->in[HIPPO_W_U], 0);
    x.N = extent(call->in[HIPPO_W_M], 0);
    const int64_t clamp = static_cast<const HippoCell *>(call->attributes)->clamp;
    x.clamp = clamp ? clamp : INT64_MAX;
    x.drive = data_of(call, HIPPO_DRIVE);
    x.gates = data_of(call, HIPPO_GATES);
    x.w_u = data_of(call, HIPPO_W_U);
    x.w_m = data_of(call, HIPPO_W_M);
    x.A = data_of(call, HIPPO_A);
    x.b = data_of(call, HIPPO_B);
    x.h0 = data_of(call, HIPPO_H0);
    x.m0 = data_of(call, HIPPO_M0);
    const Tensor *position = input_of(call, HIPPO_POSITION);
    x.position = position ? position->integers : NULL;
    x.h = call->out[0]->data;
    x.m = call->saves ? call->saved[0]->data : NULL;
    x.units = call->saves ? call->saved[1]->data : NULL;
    x.last_h = call->outputs > 1 ? call->out[1]->data : NULL;
    x.last_m = call->outputs > 1 ? call->out[2]->data : NULL;
    return x;
}

/* y <- scale y + offset. */
struct Affine {
    double scale, offset;
};
__device__ static inline Affine after(Affine first, Affine second) {
    return {second.scale * first.scale, second.scale * first.offset + second.offset};
}

/* What of a scan over the warp's lanes, in order, comes before each: the composition of all earlier
 * lanes. */
__device__ static inline Affine before_lane(Affine own) {
    const int lane = (int)threadIdx.x % WARP;
    for (int offset = 1; offset < WARP; offset *= 2) {
        const Affine other = {__shfl_up_sync(0xFFFFFFFFu, own.scale, offset),
                              __shfl_up_sync(0xFFFFFFFFu, own.offset, offset)};
        if (lane >= offset) own = after(other, own);
    }
    Affine earlier = {__shfl_up_sync(0xFFFFFFFFu, own.scale, 1),
                      __shfl_up_sync(0xFFFFFFFFu, own.offset, 1)};
    return lane == 0 ? Affine{1, 0} : earlier;
}

/* Coefficient n at divisor k: m'_n = keep m_n + gain left_n, left_{n+1} = left_n - root (m_n +
 * m'_n). */
struct Legs {
    double root, keep, gain;
};
__device__ static inline Legs legs_of(int64_t n, int64_t k) {
    const double e = 0.5 / (double)k, root = sqrt(2 * (double)n + 1), part = e * (double)(n + 1);
    return {root, (1 - part) / (1 + part), e * root / (1 + part)};
}

/* By the first warp: m <- the memory after token k that writes u. */
__device__ static inline void legs_step(float *m, int64_t N, int64_t k, double u) {
    const int64_t each = (N + WARP - 1) / WARP, lane = (int)threadIdx.x % WARP;
    const int64_t from = min(lane * each, N), to = min(from + each, N);
    if (k == 0) {
        for (int64_t n = from; n < to; n++) m[n] = n == 0 ? (float)u : 0;
        return;
    }
    Affine own = {1, 0};
    for (int64_t n = from; n < to; n++) {
        const Legs c = legs_of(n, k);
        own = after(own, {1 - c.root * c.gain, -c.root * (1 + c.keep) * (double)m[n]});
    }
    const Affine earlier = before_lane(own);
    double left = earlier.scale * 2 * u + earlier.offset;
    for (int64_t n = from; n < to; n++) {
        const Legs c = legs_of(n, k);
        const double old = (double)m[n], next = c.keep * old + c.gain * left;
        m[n] = (float)next;
        left -= c.root * (old + next);
    }
}

/* By the first warp: the gradient of m' becomes that of m; returns that of u, in every lane. */
__device__ static inline double legs_back(float *gradient, int64_t N, int64_t k) {
    const int64_t each = (N + WARP - 1) / WARP, lane = (int)threadIdx.x % WARP;
    const int64_t last = N - min(lane * each, N), first = max(last - each, (int64_t)0);
    if (k == 0) {
        double du = 0;
        for (int64_t n = first; n < last; n++) {
            if (n == 0) du = (double)gradient[n];
            gradient[n] = 0;
        }
        return warp_sum(du);
    }
    Affine own = {1, 0}; /* of the gradient of the running sum, from the last coefficient down */
    for (int64_t n = last - 1; n >= first; n--) {
        const Legs c = legs_of(n, k);
        own = after(own, {1 - c.root * c.gain, -c.gain * (double)gradient[n]});
    }
    double sum = before_lane(own).offset, du = 0;
    for (int64_t n = last - 1; n >= first; n--) {
        const Legs c = legs_of(n, k);
        const double next = (double)gradient[n] + sum * c.root;
        gradient[n] = (float)(sum * c.root + c.keep * next);
        du += 2 * c.gain * next;
        sum -= c.gain * next;
    }
    return warp_sum(du);
}

__device__ static inline int64_t divisor(const Cell &x, int64_t t) {
    return min((x.position ? (int64_t)x.position[0] : 0) + t, x.clamp);
}

KERNEL void __launch_bounds__(THREADS) cells(Cell x) {
    float *m = shared_memory<float>(), *next = m + x.N, *h = next + x.N;
    __shared__ float space[WARP];
    const int64_t b = blockIdx.x, H = x.H, N = x.N;
    for (int64_t n = threadIdx.x; n < N; n += THREADS) m[n] = x.m0 ? x.m0[b * N + n] : 0;
    for (int64_t j = threadIdx.x; j < H; j += THREADS) h[j] = x.h0 ? x.h0[b * H + j] : 0;
    __syncthreads();
    for (int64_t t = 0; t < x.L; t++) {
        float part = 0;
        for (int64_t j = threadIdx.x; j < H; j += THREADS) part += h[j] * x.w_u[j];
        const float u = x.drive[b * x.L + t] + block_sum(part, space);
        if (x.A) {
            for (int64_t n = threadIdx.x; n < N; n += THREADS) {
                float sum = u * x.b[n];
                for (int64_t j = 0; j < N; j++) sum += m[j] * x.A[j * N + n];
                next[n] = sum;
            }
            float *const swap = m;
            m = next;
            next = swap;
        } else if (threadIdx.x < WARP) {
            legs_step(m, N, divisor(x, t), (double)u);
        }
        __syncthreads();
        for (int64_t n = threadIdx.x; n < N && x.m; n += THREADS) x.m[(t * x.B + b) * N + n] = m[n];
        for (int64_t j = threadIdx.x; j < H; j += THREADS) {
            const float *gates = x.gates + (b * x.L + t) * 2 * H + j;
            float a = gates[0], g = gates[H];
            for (int64_t n = 0; n < N; n++) {
                a += m[n] * x.w_m[n * 2 * H + j];
                g += m[n] * x.w_m[n * 2 * H + H + j];
            }
            a = tanhf(a);
            g = 1.0f / (1.0f + expf(-g));
            h[j] += g * (a - h[j]);
            x.h[(b * x.L + t) * H + j] = h[j];
            if (!x.units) continue;
            x.units[(t * x.B + b) * 2 * H + j] = a;
            x.units[(t * x.B + b) * 2 * H + H + j] = g;
        }
        __syncthreads();
    }
    for (int64_t n = threadIdx.x; n < N && x.last_m; n += THREADS) x.last_m[b * N + n] = m[n];
    for (int64_t j = threadIdx.x; j < H && x.last_h; j += THREADS) x.last_h[b * H + j] = h[j];
}

KERNEL void __launch_bounds__(THREADS) cells_back(Cell x) {
    float *dm = shared_memory<float>(), *next = dm + x.N, *dh = next + x.N, *units = dh + x.H;
    __shared__ float space[WARP];
    __shared__ float shared_du;
    const int64_t b = blockIdx.x, H = x.H, N = x.N;
    for (int64_t n = threadIdx.x; n < N; n += THREADS) dm[n] = 0;
    for (int64_t j = threadIdx.x; j < H; j += THREADS) dh[j] = 0;
    __syncthreads();
    for (int64_t t = x.L - 1; t >= 0; t--) {
        const int64_t row = b * x.L + t;
        for (int64_t j = threadIdx.x; j < H; j += THREADS) {
            const float *own = x.units + (t * x.B + b) * 2 * H + j;
            const float a = own[0], g = own[H], old = t > 0 ? x.h[(row - 1) * H + j] : 0;
            const float sum = x.dh[row * H + j] + dh[j];
            units[j] = sum * g * (1 - a * a);
            units[H + j] = sum * (a - old) * g * (1 - g);
            dh[j] = sum * (1 - g);
            x.d_gates[row * 2 * H + j] = units[j];
            x.d_gates[row * 2 * H + H + j] = units[H + j];
        }
        __syncthreads();
        /* a warp a coefficient, lanes along its row of w_m */
        for (int64_t n = threadIdx.x / WARP; n < N; n += THREADS / (int)WARP) {
            float sum = 0;
            for (int64_t j = threadIdx.x % WARP; j < 2 * H; j += WARP)
                sum += units[j] * x.w_m[n * 2 * H + j];
            sum = warp_sum(sum);
            if (threadIdx.x % WARP == 0) dm[n] += sum;
        }
        __syncthreads();
        float du = 0;
        if (x.A) {
            float part = 0;
            for (int64_t n = threadIdx.x; n < N; n += THREADS) part += dm[n] * x.b[n];
            du = block_sum(part, space);
            for (int64_t n = threadIdx.x / WARP; n < N; n += THREADS / (int)WARP) {
                float sum = 0;
                for (int64_t j = threadIdx.x % WARP; j < N; j += WARP)
                    sum += dm[j] * x.A[n * N + j];
                sum = warp_sum(sum);
                if (threadIdx.x % WARP == 0) next[n] = sum;
            }
            float *const swap = dm;
            dm = next;
            next = swap;
        } else {
            if (threadIdx.x < WARP) {
                const double own = legs_back(dm, N, divisor(x, t));
                if (threadIdx.x == 0) shared_du = (float)own;
            }
            __syncthreads();
            du = shared_du;
        }
        if (threadIdx.x == 0) x.d_drive[row] = du;
        for (int64_t j = threadIdx.x; j < H; j += THREADS) dh[j] += du * x.w_u[j];
        __syncthreads();
    }
}

static size_t shared_bytes(const Cell &x, Phase phase) {
    return (size_t)(2 * x.N + (phase == PHASE_FORWARD ? 1 : 3) * x.H) * sizeof(float);
}

static void forward(const OpCall *call, const Run *run) {
    const Cell x = cell_of(call);
    LAUNCH(run, cells, (unsigned)x.B, THREADS, shared_bytes(x, PHASE_FORWARD), x);
}

/* Sum over all tokens, a thread an element. */
KERNEL void __launch_bounds__(THREADS) readout_gradients(Cell x, float *to, bool accumulate) {
    const int64_t at = global_thread(), n = at / (2 * x.H), j = at % (2 * x.H);
    if (n >= x.N) return;
    float sum = 0;
    for (int64_t b = 0; b < x.B; b++)
        for (int64_t t = 0; t < x.L; t++)
            sum += x.m[(t * x.B + b) * x.N + n] * x.d_gates[(b * x.L + t) * 2 * x.H + j];
    put(to + at, sum, accumulate);
}

static void backward(const OpCall *call, const Run *run) {
    Carver carver = {static_cast<unsigned char *>(call->scratch)};
    Cell x = cell_of(call);
    x.dh = call->out[0]->gradient;
    x.d_gates = carver.take<float>(x.B * x.L * 2 * x.H);
    x.d_drive = carver.take<float>(x.B * x.L);
    LAUNCH(run, cells_back, (unsigned)x.B, THREADS, shared_bytes(x, PHASE_BACKWARD), x);
    float *const drive = gradient_of(call, HIPPO_DRIVE), *const gates =
                                                             gradient_of(call, HIPPO_GATES);
    float *const w_u = gradient_of(call, HIPPO_W_U), *const w_m = gradient_of(call, HIPPO_W_M);
    const bool add_drive = call->accumulate[HIPPO_DRIVE], add_gates = call->accumulate[HIPPO_GATES];
    const bool add_u = call->accumulate[HIPPO_W_U];
    if (drive)
        for_each(run, x.B * x.L,
                 [=] __device__(int64_t i) { put(drive + i, x.d_drive[i], add_drive); });
    if (gates)
        for_each(run, x.B * x.L * 2 * x.H,
                 [=] __device__(int64_t i) { put(gates + i, x.d_gates[i], add_gates); });
    if (w_u)
        for_each(run, x.H, [=] __device__(int64_t j) {
            float sum = 0;
            for (int64_t b = 0; b < x.B; b++)
                for (int64_t t = 1; t < x.L; t++)
                    sum += x.d_drive[b * x.L + t] * x.h[(b * x.L + t - 1) * x.H + j];
            put(w_u + j, sum, add_u);
        });
    if (w_m)
        LAUNCH(run, readout_gradients, blocks_for(x.N * 2 * x.H, THREADS), THREADS, 0, x, w_m,
               call->accumulate[HIPPO_W_M]);
}

static size_t scratch(const OpCall *call, Phase phase) {
    if (phase == PHASE_FORWARD) return 0;
    const int64_t tokens = tensor_size(call->in[HIPPO_DRIVE]);
    return carved(tokens * extent(call->in[HIPPO_GATES], 2), sizeof(float)) +
           carved(tokens, sizeof(float));
}

CUDA_OP(hippo_cell, {forward, backward}, scratch);
