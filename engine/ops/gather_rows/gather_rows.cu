#include "engine/ops/gather_rows/gather_rows.h"

#include "engine/cuda/collect.cuh"

static void forward(const OpCall *call, const Run *run) {
    const int32_t *positions = call->in[1]->integers;
    const int64_t length = extent(call->in[0], 1);
    const Divisor labels = divide_by(extent(call->in[1], 1));
    pick_rows(run, tensor_size(call->in[1]), extent(call->in[0], 2), call->in[0]->data, 1.0f,
              call->out[0]->data,
              [=] __device__(int64_t row) { return labels.of(row) * length + positions[row]; });
}

static void backward(const OpCall *call, const Run *run) {
    Collect x = {};
    x.to = gradient_of(call, 0);
    if (!x.to) return;
    x.keys = call->in[1]->integers;
    x.groups = extent(call->in[0], 0);
    x.keys_each = extent(call->in[1], 1);
    x.rows_each = extent(call->in[0], 1);
    x.width = extent(call->in[0], 2);
    x.from = call->out[0]->gradient;
    x.factor = 1;
    x.accumulate = call->accumulate[0];
    collect(run, x);
}

CUDA_OP(gather_rows, {forward, backward}, NULL);
