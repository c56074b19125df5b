#include "engine/ops/mask_padding/mask_padding.h"

#include "engine/rows_simd.h"

/* Whether row t of sequence b belongs to it. */
static bool inside(const OpCall *call, int64_t row) {
    const int64_t L = extent(call->in[0], 1);
    return row % L < call->in[1]->integers[row / L];
}

static void forward(const OpCall *call, const Run *run) {
    const Tensor *x = call->in[0];
    const int64_t D = extent(x, 2), rows = rows_of(x);
    const size_t bytes = (size_t)D * sizeof(float);
    float *y = call->out[0]->data;
#pragma omp parallel for num_threads(run->threads) schedule(static)
    for (int64_t row = 0; row < rows; row++)
        if (inside(call, row))
            memcpy(y + row * D, x->data + row * D, bytes);
        else
            memset(y + row * D, 0, bytes);
}

static void backward(const OpCall *call, const Run *run) {
    const GradientTarget target = gradient_target(call, 0);
    const float *slope = call->out[0]->gradient;
    const int64_t D = extent(call->in[0], 2), rows = rows_of(call->in[0]);
    if (!target.data) return;
#pragma omp parallel for num_threads(run->threads) schedule(static)
    for (int64_t row = 0; row < rows; row++) {
        float *to = target.data + row * D;
        if (inside(call, row))
            for (int64_t c = 0; c < D; c += LANES)
                v_deliver(target, row * D + c, v_load_part(slope + row * D + c, D - c), D - c);
        else if (!target.add)
            memset(to, 0, (size_t)D * sizeof *to);
    }
}

const OpKernels ISA(mask_padding_cpu) = {forward, backward};
