/* Bound by the sine. Channels are shared out in blocks of LANES, so that a channel's frequency
 * gradient is one sum over rows in order. */
#include "engine/gradient_simd.h"
#include "engine/ops/sine/sine.h"
#include "engine/vmath.h"

static void forward(const OpCall *call, const Run *run) {
    const Tensor *x = call->in[0];
    const int64_t width = extent(x, -1), rows = rows_of(x);
#pragma omp parallel for num_threads(run->threads) schedule(static)
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < width; c += LANES) {
            const vfloat angle = v_load_part(x->data + r * width + c, width - c) *
                                 v_load_part(call->in[1]->data + c, width - c);
            v_store_part(call->out[0]->data + r * width + c, v_sin(angle), width - c);
        }
}

static void backward(const OpCall *call, const Run *run) {
    const Tensor *x = call->in[0];
    const int64_t width = extent(x, -1), rows = rows_of(x);
    const GradientTarget to_x = gradient_target(call, 0), to_frequency = gradient_target(call, 1);
#pragma omp parallel for num_threads(run->threads) schedule(static)
    for (int64_t c = 0; c < width; c += LANES) {
        const vfloat frequency = v_load_part(call->in[1]->data + c, width - c);
        vfloat sum = v_zero();
        for (int64_t r = 0; r < rows; r++) {
            const vfloat value = v_load_part(x->data + r * width + c, width - c);
            const vfloat slope = v_load_part(call->out[0]->gradient + r * width + c, width - c) *
                                 v_cos(value * frequency);
            sum += slope * value;
            if (to_x.data) v_deliver(to_x, r * width + c, slope * frequency, width - c);
        }
        if (to_frequency.data) v_deliver(to_frequency, c, sum, width - c);
    }
}

const OpKernels ISA(sine_cpu) = {forward, backward};
