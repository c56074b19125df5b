#include "engine/ops/positions/positions.h"

#include "engine/cuda/grid.cuh"

static void forward(const OpCall *call, const Run *run) {
    const float *x = call->in[0]->data, *table = call->in[1]->data;
    const int32_t *position = input_of(call, 2) ? call->in[2]->integers : NULL;
    float *y = call->out[0]->data;
    const Divisor item = divide_by(extent(call->in[0], 1) * extent(call->in[0], 2));
    const int64_t D = extent(call->in[0], 2);
    for_each(run, tensor_size(call->in[0]), [=] __device__(int64_t i) {
        const int64_t first = position ? position[0] : 0;
        y[i] = x[i] + table[first * D + i - item.of(i) * item.d];
    });
}

/* Rows of the table that no position reads get zero. */
static void backward(const OpCall *call, const Run *run) {
    const float *dy = call->out[0]->gradient;
    const int64_t B = extent(call->in[0], 0), L = extent(call->in[0], 1),
                  D = extent(call->in[0], 2);
    const int32_t *position = input_of(call, 2) ? call->in[2]->integers : NULL;
    float *const dx = gradient_of(call, 0), *const table = gradient_of(call, 1);
    const bool add_x = call->accumulate[0], add_table = call->accumulate[1];
    if (table)
        for_each(run, tensor_size(call->in[1]), [=] __device__(int64_t i) {
            const int64_t t = i / D - (position ? position[0] : 0);
            float sum = 0;
            for (int64_t b = 0; b < B && t >= 0 && t < L; b++) sum += dy[(b * L + t) * D + i % D];
            put(table + i, sum, add_table);
        });
    if (dx) for_each(run, B * L * D, [=] __device__(int64_t i) { put(dx + i, dy[i], add_x); });
}

CUDA_OP(positions, {forward, backward}, NULL);
