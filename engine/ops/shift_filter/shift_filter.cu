/* A thread an output; neighbours are neighbouring channels, so that every load is coalesced. */
#include "engine/ops/shift_filter/shift_filter.h"

#include "engine/cuda/grid.cuh"

/* to[j] = sum_m a[m] b[j + side m] for j < rows <= b_rows, side 1 or -1, over the rows that there
 * are: a_rows of a, b_rows of b. */
static void correlate(const Run *run, const float *a, int64_t a_rows, const float *b,
                      int64_t b_rows, int64_t D, int64_t rows, int64_t side, float *to,
                      bool accumulate) {
    for_each(run, rows * D, [=] __device__(int64_t i) {
        const int64_t j = i / D, d = i % D;
        const int64_t last = min(a_rows, side > 0 ? b_rows - j : j + 1);
        float sum = 0;
        for (int64_t m = 0; m < last; m++) sum += a[m * D + d] * b[(j + side * m) * D + d];
        put(to + i, sum, accumulate);
    });
}

static void forward(const OpCall *call, const Run *run) {
    const int64_t N = extent(call->in[0], 0), D = extent(call->in[0], 1);
    correlate(run, call->in[0]->data, N, call->in[1]->data, N, D, extent(call->out[0], 0), 1,
              call->out[0]->data, false);
}

static void backward(const OpCall *call, const Run *run) {
    const int64_t N = extent(call->in[0], 0), D = extent(call->in[0], 1);
    const int64_t K = extent(call->out[0], 0);
    const float *slope = call->out[0]->gradient;
    float *const dB = gradient_of(call, 0), *const dC = gradient_of(call, 1);
    if (dB) correlate(run, slope, K, call->in[1]->data, N, D, N, 1, dB, call->accumulate[0]);
    if (dC) correlate(run, slope, K, call->in[0]->data, N, D, N, -1, dC, call->accumulate[1]);
}

CUDA_OP(shift_filter, {forward, backward}, NULL);
