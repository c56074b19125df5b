#include "engine/ops/repeat/repeat.h"

#include "engine/cuda/grid.cuh"

enum { THREADS = 128 };

static void forward(const OpCall *call, const Run *run) {
    const bool columns = static_cast<const Repeat *>(call->attributes)->columns;
    const int64_t width = extent(call->out[0], 1);
    const float *x = call->in[0]->data;
    float *const y = call->out[0]->data;
    for_each(run, tensor_size(call->out[0]),
             [=] __device__(int64_t i) { y[i] = x[columns ? i / width : i % width]; });
}

/* A warp a sum: of dy[first + step k], k < count, lanes side by side. */
KERNEL void __launch_bounds__(THREADS)
    sum(const float *__restrict__ dy, float *dx, bool accumulate, int64_t sums, int64_t count,
        int64_t first_step, int64_t step) {
    const int64_t i = global_thread() / WARP;
    const int lane = (int)threadIdx.x % WARP;
    float total = 0;
    for (int64_t k = lane; i < sums && k < count; k += WARP) total += dy[i * first_step + k * step];
    total = warp_sum(total); /* all lanes reach it */
    if (i < sums && lane == 0) put(dx + i, total, accumulate);
}

static void backward(const OpCall *call, const Run *run) {
    const bool columns = static_cast<const Repeat *>(call->attributes)->columns;
    const int64_t rows = extent(call->out[0], 0), width = extent(call->out[0], 1);
    float *const dx = gradient_of(call, 0);
    const int64_t sums = columns ? rows : width;
    if (dx)
        LAUNCH(run, sum, blocks_for(sums * WARP, THREADS), THREADS, 0, call->out[0]->gradient, dx,
               call->accumulate[0], sums, columns ? width : rows, columns ? width : (int64_t)1,
               columns ? (int64_t)1 : width);
}

CUDA_OP(repeat, {forward, backward}, NULL);
