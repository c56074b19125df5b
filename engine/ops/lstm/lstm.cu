/* A block for each sequence: it keeps the state in shared memory through all steps, so nothing
 * waits between blocks; the recurrent weights come from the second-level cache. */
#include "engine/ops/lstm/lstm.h"

#include "engine/cuda/activation.cuh"
#include "engine/cuda/product.h"
#include "engine/ops/lstm/lstm_plan.h"

enum { MOST_THREADS = 512 };

struct Cells {
    int64_t L, H;
    const float *gates, *w, *h0, *c0;
    float *h, *h_last, *c_last;
    float *activated, *c; /* saved; NULL outside of training */
};

KERNEL void __launch_bounds__(MOST_THREADS) steps(Cells x) {
    const int64_t b = blockIdx.x, H = x.H;
    float *const h = shared_memory<float>(), *const c = h + H, *const G = c + H;
    for (int64_t u = threadIdx.x; u < H; u += blockDim.x) {
        h[u] = x.h0 ? x.h0[b * H + u] : 0.0f;
        c[u] = x.c0 ? x.c0[b * H + u] : 0.0f;
    }
    __syncthreads();
    for (int64_t t = 0; t < x.L; t++) {
        const int64_t row = b * x.L + t;
        for (int64_t n = threadIdx.x; n < 4 * H; n += blockDim.x) {
            float sum = 0;
            for (int64_t k = 0; k < H; k++) sum += h[k] * x.w[k * 4 * H + n];
            sum += x.gates[row * 4 * H + n];
            G[n] = n / H == 2 ? tanhf(sum) : sigmoid_of(sum);
            if (x.activated) x.activated[row * 4 * H + n] = G[n];
        }
        __syncthreads();
        for (int64_t u = threadIdx.x; u < H; u += blockDim.x) {
            c[u] = G[H + u] * c[u] + G[u] * G[2 * H + u];
            h[u] = G[3 * H + u] * tanhf(c[u]);
            x.h[row * H + u] = h[u];
            if (x.c) x.c[row * H + u] = c[u];
        }
        __syncthreads();
    }
    for (int64_t u = threadIdx.x; x.h_last && u < H; u += blockDim.x) {
        x.h_last[b * H + u] = h[u];
        x.c_last[b * H + u] = c[u];
    }
}

struct Adjoint {
    int64_t L, H;
    const float *activated, *c, *c0, *dh, *dh_last, *dc_last;
    const float *transposed; /* w^T, (4H, H) */
    float *d_gates;          /* (B, L, 4H) before the activation */
    float *dh0, *dc0;        /* (B, H) or NULL */
    bool add_h0, add_c0;
};

KERNEL void __launch_bounds__(MOST_THREADS) adjoint_steps(Adjoint x) {
    const int64_t b = blockIdx.x, H = x.H;
    float *const dh = shared_memory<float>(), *const dc = dh + H, *const dG = dc + H;
    for (int64_t u = threadIdx.x; u < H; u += blockDim.x) {
        dh[u] = x.dh_last ? x.dh_last[b * H + u] : 0.0f;
        dc[u] = x.dc_last ? x.dc_last[b * H + u] : 0.0f;
    }
    __syncthreads();
    for (int64_t t = x.L - 1; t >= 0; t--) {
        const int64_t row = b * x.L + t;
        const float *G = x.activated + row * 4 * H;
        for (int64_t u = threadIdx.x; u < H; u += blockDim.x) {
            const float i = G[u], f = G[H + u], g = G[2 * H + u], o = G[3 * H + u];
            const float before = t > 0 ? x.c[(row - 1) * H + u] : x.c0 ? x.c0[b * H + u] : 0.0f;
            const float bent = tanhf(x.c[row * H + u]), to_h = dh[u] + x.dh[row * H + u];
            const float to_c = dc[u] + to_h * o * (1 - bent * bent);
            dG[u] = to_c * g * i * (1 - i);
            dG[H + u] = to_c * before * f * (1 - f);
            dG[2 * H + u] = to_c * i * (1 - g * g);
            dG[3 * H + u] = to_h * bent * o * (1 - o);
            dc[u] = to_c * f;
        }
        __syncthreads();
        for (int64_t n = threadIdx.x; n < 4 * H; n += blockDim.x)
            x.d_gates[row * 4 * H + n] = dG[n];
        for (int64_t k = threadIdx.x; k < H; k += blockDim.x) {
            float sum = 0;
            for (int64_t n = 0; n < 4 * H; n++) sum += dG[n] * x.transposed[n * H + k];
            dh[k] = sum;
        }
        __syncthreads();
    }
    for (int64_t u = threadIdx.x; u < H; u += blockDim.x) {
        if (x.dh0) put(x.dh0 + b * H + u, dh[u], x.add_h0);
        if (x.dc0) put(x.dc0 + b * H + u, dc[u], x.add_c0);
    }
}

static unsigned threads_for(int64_t H) {
    const int64_t threads = (4 * H + WARP - 1) / WARP * WARP;
    return threads < MOST_THREADS ? (unsigned)threads : (unsigned)MOST_THREADS;
}

static void forward(const OpCall *call, const Run *run) {
    Cells x = {};
    x.L = extent(call->in[LSTM_GATES], 1);
    x.H = extent(call->in[LSTM_W], 0);
    x.gates = call->in[LSTM_GATES]->data;
    x.w = call->in[LSTM_W]->data;
    x.h0 = data_of(call, LSTM_H0);
    x.c0 = data_of(call, LSTM_C0);
    x.h = call->out[LSTM_H]->data;
    x.h_last = call->outputs > 1 ? call->out[LSTM_H_LAST]->data : NULL;
    x.c_last = call->outputs > 1 ? call->out[LSTM_C_LAST]->data : NULL;
    x.activated = call->saves ? call->saved[LSTM_SAVED_GATES]->data : NULL;
    x.c = call->saves ? call->saved[LSTM_SAVED_C]->data : NULL;
    LAUNCH(run, steps, (unsigned)extent(call->in[LSTM_GATES], 0), threads_for(x.H),
           (size_t)(6 * x.H) * sizeof(float), x);
}

static void backward(const OpCall *call, const Run *run) {
    const int64_t B = extent(call->in[LSTM_GATES], 0), L = extent(call->in[LSTM_GATES], 1);
    const int64_t H = extent(call->in[LSTM_W], 0), rows = B * L;
    Carver carver = {static_cast<unsigned char *>(call->scratch)};
    float *const transposed = carver.take<float>(4 * H * H);
    float *const d_gates = carver.take<float>(rows * 4 * H);
    float *const before = carver.take<float>(rows * H); /* h of the step before */
    const float *w = call->in[LSTM_W]->data, *h = call->out[LSTM_H]->data;
    const float *h0 = data_of(call, LSTM_H0);
    for_each(run, 4 * H * H,
             [=] __device__(int64_t i) { transposed[i] = w[i % H * 4 * H + i / H]; });
    Adjoint x = {};
    x.L = L;
    x.H = H;
    x.activated = call->saved[LSTM_SAVED_GATES]->data;
    x.c = call->saved[LSTM_SAVED_C]->data;
    x.c0 = data_of(call, LSTM_C0);
    x.dh = call->out[LSTM_H]->gradient;
    x.dh_last = call->outputs > 1 ? call->out[LSTM_H_LAST]->gradient : NULL;
    x.dc_last = call->outputs > 1 ? call->out[LSTM_C_LAST]->gradient : NULL;
    x.transposed = transposed;
    x.d_gates = d_gates;
    x.dh0 = gradient_of(call, LSTM_H0);
    x.dc0 = gradient_of(call, LSTM_C0);
    x.add_h0 = call->accumulate[LSTM_H0];
    x.add_c0 = call->accumulate[LSTM_C0];
    LAUNCH(run, adjoint_steps, (unsigned)B, threads_for(H), (size_t)(6 * H) * sizeof(float), x);
    if (float *to = gradient_of(call, LSTM_GATES)) {
        const bool accumulate = call->accumulate[LSTM_GATES];
        for_each(run, rows * 4 * H,
                 [=] __device__(int64_t i) { put(to + i, d_gates[i], accumulate); });
    }
    float *const dw = gradient_of(call, LSTM_W);
    if (!dw) return;
    for_each(run, rows * H, [=] __device__(int64_t i) {
        const int64_t t = i / H % L, b = i / H / L;
        before[i] = t > 0 ? h[i - H] : h0 ? h0[b * H + i % H] : 0.0f;
    });
    Product p = {}; /* before^T d_gates */
    p.transposed_a = true;
    p.m = H;
    p.n = p.ldb = p.ldc = 4 * H;
    p.k = rows;
    p.a = before;
    p.lda = H;
    p.b = d_gates;
    p.c = dw;
    p.start = call->accumulate[LSTM_W] ? dw : NULL;
    product(run, p);
}

static size_t scratch(const OpCall *call, Phase phase) {
    if (phase == PHASE_FORWARD) return 0;
    const int64_t H = extent(call->in[LSTM_W], 0);
    const int64_t rows = extent(call->in[LSTM_GATES], 0) * extent(call->in[LSTM_GATES], 1);
    return carved(4 * H * H, sizeof(float)) + carved(rows * 4 * H, sizeof(float)) +
           carved(rows * H, sizeof(float));
}

CUDA_OP(lstm, {forward, backward}, scratch);
