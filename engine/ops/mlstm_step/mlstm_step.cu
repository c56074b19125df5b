/* Bound by the state. A block has COLUMNS columns of one head; LINES lines of threads take its rows
 * in turn, and their sums are added in order. */
#include "engine/ops/mlstm_step/mlstm_step.h"

#include "engine/cuda/activation.cuh"
#include "engine/ops/mlstm/mlstm.h"

enum { COLUMNS = 32, LINES = 8, THREADS = COLUMNS * LINES };

struct Step {
    int64_t H, dk, dv, slices;
    const float *q, *k, *v, *gates, *n, *m;
    float *C, *h, *n_next, *m_next;
    float scale;
};

KERNEL void __launch_bounds__(THREADS) step(Step x) {
    __shared__ float space[WARP], sums[LINES][COLUMNS];
    const int64_t unit = blockIdx.x / x.slices, slice = blockIdx.x % x.slices;
    const int64_t c = slice * COLUMNS + threadIdx.x % COLUMNS;
    const unsigned line = threadIdx.x / COLUMNS;
    const float *const gates = x.gates + unit / x.H * 2 * x.H + unit % x.H;
    const float *const q = x.q + unit * x.dk, *const k = x.k + unit * x.dk;
    const float log_f = -softplus_of(-gates[x.H]), before = x.m[unit];
    const float m = fmaxf(log_f + before, gates[0]);
    const float keep = expf(log_f + before - m), add = expf(gates[0] - m);
    float dot = 0;
    for (int64_t a = threadIdx.x; a < x.dk; a += THREADS) {
        const float n = keep * x.n[unit * x.dk + a] + add * k[a];
        dot += n * q[a];
        if (slice == 0) x.n_next[unit * x.dk + a] = n;
    }
    dot = block_sum(dot, space) * x.scale;
    float sum = 0;
    if (c < x.dv) {
        const float value = add * x.v[unit * x.dv + c];
        float *const C = x.C + unit * x.dk * x.dv + c;
#pragma unroll 4 /* loads in flight */
        for (int64_t a = line; a < x.dk; a += LINES) {
            const float next = keep * C[a * x.dv] + value * k[a];
            sum += next * q[a];
            C[a * x.dv] = next;
        }
    }
    sums[line][threadIdx.x % COLUMNS] = sum;
    __syncthreads();
    if (slice == 0 && threadIdx.x == 0) x.m_next[unit] = m;
    if (line != 0 || c >= x.dv) return;
    for (int i = 1; i < LINES; i++) sum += sums[i][threadIdx.x];
    x.h[unit * x.dv + c] = sum * x.scale / (fmaxf(fabsf(dot), expf(-m)) + MLSTM_EPSILON);
}

static void forward(const OpCall *call, const Run *run) {
    const Tensor *C = call->in[MLSTM_STEP_C];
    Step x = {};
    x.H = extent(C, 1);
    x.dk = extent(C, 2);
    x.dv = extent(C, 3);
    x.slices = (x.dv + COLUMNS - 1) / COLUMNS;
    x.q = call->in[MLSTM_STEP_Q]->data;
    x.k = call->in[MLSTM_STEP_K]->data;
    x.v = call->in[MLSTM_STEP_V]->data;
    x.gates = call->in[MLSTM_STEP_GATES]->data;
    x.n = call->in[MLSTM_STEP_N]->data;
    x.m = call->in[MLSTM_STEP_M]->data;
    x.C = call->out[MLSTM_STEP_C_NEXT]->data;
    x.h = call->out[MLSTM_STEP_H]->data;
    x.n_next = call->out[MLSTM_STEP_N_NEXT]->data;
    x.m_next = call->out[MLSTM_STEP_M_NEXT]->data;
    x.scale = (float)(1 / sqrt((double)x.dk));
    LAUNCH(run, step, (unsigned)(extent(C, 0) * x.H * x.slices), THREADS, 0, x);
}

CUDA_OP(mlstm_step, {forward, NULL}, NULL);
