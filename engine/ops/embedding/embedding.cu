#include "engine/ops/embedding/embedding.h"

#include "engine/cuda/grid.cuh"

enum { THREADS = 128 };

/* A block for each row v of the table: it looks through the ids a tile at a time and adds the rows
 * that name v in their order, so the sum is the same every time and nothing is atomic. */
KERNEL void __launch_bounds__(THREADS)
    table_gradient(const int32_t *__restrict__ ids, const float *__restrict__ dy, float *table,
                   int64_t rows, int64_t width, float factor, bool accumulate) {
    __shared__ int32_t tile[THREADS];
    const int32_t v = (int32_t)blockIdx.x;
    const int64_t c = (int64_t)blockIdx.y * THREADS + threadIdx.x;
    float sum = 0;
    for (int64_t first = 0; first < rows; first += THREADS) {
        const int64_t mine = first + threadIdx.x;
        const int32_t id = mine < rows ? ids[mine] : -1;
        if (!__syncthreads_or(id == v)) continue;
        tile[threadIdx.x] = id;
        __syncthreads();
        for (int k = 0; k < THREADS && c < width; k++)
            if (tile[k] == v) sum += dy[(first + k) * width + c];
        __syncthreads();
    }
    if (c < width) put(table + v * width + c, factor * sum, accumulate);
}

static void forward(const OpCall *call, const Run *run) {
    const float factor = static_cast<const Embedding *>(call->attributes)->factor;
    const int32_t *ids = call->in[0]->integers;
    const float *table = call->in[1]->data;
    float *y = call->out[0]->data;
    const int64_t width = extent(call->in[1], 1);
    for_each(run, tensor_size(call->out[0]), [=] __device__(int64_t i) {
        y[i] = factor * table[ids[i / width] * width + i % width];
    });
}

static void backward(const OpCall *call, const Run *run) {
    float *const table = gradient_of(call, 1);
    if (!table) return;
    const int64_t width = extent(call->in[1], 1), entries = extent(call->in[1], 0);
    LAUNCH(run, table_gradient, dim3((unsigned)entries, blocks_for(width, THREADS)), THREADS, 0,
           call->in[0]->integers, call->out[0]->gradient, table, tensor_size(call->in[0]), width,
           static_cast<const Embedding *>(call->attributes)->factor, call->accumulate[1]);
}

CUDA_OP(embedding, {forward, backward}, NULL);
