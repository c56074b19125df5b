#include "engine/ops/prepend/prepend.h"
#include "engine/rows_simd.h"

static void forward(const OpCall *call, const Run *run) {
    const int64_t K = extent(call->in[1], 0), L = extent(call->in[0], 1);
    const int64_t D = extent(call->in[0], 2), rows = rows_of(call->out[0]);
    const float *x = call->in[0]->data, *front = call->in[1]->data;
#pragma omp parallel for num_threads(run->threads) schedule(static)
    for (int64_t row = 0; row < rows; row++) {
        const int64_t b = row / (K + L), t = row % (K + L);
        const float *from = t < K ? front + t * D : x + (b * L + t - K) * D;
        row_scale(call->out[0]->data + row * D, from, 1.0f, D);
    }
}

static void backward_input(const OpCall *call, const Run *run, GradientTarget target) {
    const int64_t K = extent(call->in[1], 0), L = extent(call->in[0], 1);
    const int64_t D = extent(call->in[0], 2), rows = rows_of(call->in[0]);
#pragma omp parallel for num_threads(run->threads) schedule(static)
    for (int64_t row = 0; row < rows; row++) {
        const int64_t from = row / L * (K + L) + K + row % L;
        deliver_all(target, row * D, call->out[0]->gradient + from * D, D);
    }
}

/* Each row sums over the batch, in order. */
static void backward_front(const OpCall *call, const Run *run, GradientTarget target) {
    const int64_t K = extent(call->in[1], 0), L = extent(call->in[0], 1);
    const int64_t B = extent(call->in[0], 0), D = extent(call->in[0], 2);
#pragma omp parallel for num_threads(run->threads) schedule(static)
    for (int64_t t = 0; t < K; t++)
        for (int64_t d = 0; d < D; d += LANES) {
            vfloat sum = v_zero();
            for (int64_t b = 0; b < B; b++)
                sum += v_load_part(call->out[0]->gradient + (b * (K + L) + t) * D + d, D - d);
            v_deliver(target, t * D + d, sum, D - d);
        }
}

static void backward(const OpCall *call, const Run *run) {
    const GradientTarget into_x = gradient_target(call, 0), into_front = gradient_target(call, 1);
    if (into_x.data) backward_input(call, run, into_x);
    if (into_front.data) backward_front(call, run, into_front);
}

const OpKernels ISA(prepend_cpu) = {forward, backward};
