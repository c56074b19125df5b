#include "engine/ops/positions/positions.h"
#include "engine/simd.h"

/* First row of the table, kept inside it. */
static int64_t first_row(const OpCall *call) {
    if (!call->in[2]) return 0;
    const int64_t last = extent(call->in[1], 0) - extent(call->in[0], 1);
    const int64_t position = call->in[2]->integers[0];
    return position < 0 ? 0 : position > last ? last : position;
}

static void forward(const OpCall *call, const Run *run) {
    const Tensor *x = call->in[0];
    const int64_t L = extent(x, 1), D = extent(x, 2);
    const float *table = call->in[1]->data + first_row(call) * D;
#pragma omp parallel for num_threads(run->threads) schedule(static) if (run->threads > 1)
    for (int64_t row = 0; row < rows_of(x); row++)
        for (int64_t c = 0; c < D; c += LANES)
            v_store_part(call->out[0]->data + row * D + c,
                         v_load_part(x->data + row * D + c, D - c) +
                             v_load_part(table + row % L * D + c, D - c),
                         D - c);
}

static void backward_input(const OpCall *call, const Run *run) {
    const float *from = call->out[0]->gradient;
    float *to = call->in[0]->gradient;
    const int64_t size = tensor_size(call->in[0]);
    const bool add = call->accumulate[0];
#pragma omp parallel for num_threads(run->threads) schedule(static) if (run->threads > 1)
    for (int64_t i = 0; i < size; i += LANES) {
        const vfloat before = add ? v_load_part(to + i, size - i) : v_zero();
        v_store_part(to + i, before + v_load_part(from + i, size - i), size - i);
    }
}

/* Each row of the table sums over the batch, in order. */
static void backward_table(const OpCall *call, const Run *run) {
    const Tensor *x = call->in[0], *table = call->in[1];
    const int64_t B = extent(x, 0), L = extent(x, 1), D = extent(x, 2), first = first_row(call);
    const float *from = call->out[0]->gradient;
    const bool add = call->accumulate[1];
#pragma omp parallel for num_threads(run->threads) schedule(static) if (run->threads > 1)
    for (int64_t row = 0; row < extent(table, 0); row++) {
        const int64_t t = row - first;
        float *to = table->gradient + row * D;
        for (int64_t c = 0; c < D; c += LANES) {
            vfloat sum = add ? v_load_part(to + c, D - c) : v_zero();
            for (int64_t b = 0; t >= 0 && t < L && b < B; b++)
                sum += v_load_part(from + (b * L + t) * D + c, D - c);
            v_store_part(to + c, sum, D - c);
        }
    }
}

static void backward(const OpCall *call, const Run *run) {
    if (call->in[0]->gradient && !call->passed[0]) backward_input(call, run);
    if (call->in[1]->gradient) backward_table(call, run);
}

const OpKernels ISA(positions_cpu) = {forward, backward};
