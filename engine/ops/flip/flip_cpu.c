/* Bound by memory: every row is read and written once. Its own inverse and its own adjoint. */
#include "engine/gradient_simd.h"
#include "engine/ops/flip/flip.h"

static void turn(const OpCall *call, const Run *run, const float *from, GradientTarget to) {
    const int64_t L = extent(call->in[0], 1), D = extent(call->in[0], 2);
#pragma omp parallel for num_threads(run->threads) schedule(static)
    for (int64_t row = 0; row < extent(call->in[0], 0) * L; row++) {
        const float *x = from + (row / L * L + L - 1 - row % L) * D;
        for (int64_t d = 0; d < D; d += LANES)
            v_deliver(to, row * D + d, v_load_part(x + d, D - d), D - d);
    }
}

static void forward(const OpCall *call, const Run *run) {
    turn(call, run, call->in[0]->data, (GradientTarget){call->out[0]->data, false});
}

static void backward(const OpCall *call, const Run *run) {
    const GradientTarget to = gradient_target(call, 0);
    if (to.data) turn(call, run, call->out[0]->gradient, to);
}

const OpKernels ISA(flip_cpu) = {forward, backward};
