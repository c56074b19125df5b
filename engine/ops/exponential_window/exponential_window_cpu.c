#include "engine/gradient_simd.h"
#include "engine/ops/exponential_window/exponential_window.h"
#include "engine/vmath.h"

/* The window at time t for channels c .. c+LANES-1. */
ALWAYS_INLINE vfloat window(const OpCall *call, float time, int64_t c, int64_t n) {
    const ExponentialWindow *attributes = call->attributes;
    const vfloat rate = v_abs(v_load_part(call->in[1]->data + c, n));
    return v_exp(-time * rate) + attributes->shift;
}

static float time_of(const OpCall *call, int64_t row) {
    const ExponentialWindow *attributes = call->attributes;
    const int64_t last = attributes->max_length - 1;
    return last > 0 ? (float)((double)row / (double)last) : 0.0f;
}

static void forward(const OpCall *call, const Run *run) {
    const int64_t rows = extent(call->in[0], 0), width = extent(call->in[0], 1);
#pragma omp parallel for num_threads(run->threads) schedule(static)
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < width; c += LANES) {
            const vfloat x = v_load_part(call->in[0]->data + r * width + c, width - c);
            v_store_part(call->out[0]->data + r * width + c,
                         x * window(call, time_of(call, r), c, width - c), width - c);
        }
}

static void backward(const OpCall *call, const Run *run) {
    const int64_t rows = extent(call->in[0], 0), width = extent(call->in[0], 1);
    const GradientTarget to_x = gradient_target(call, 0);
    if (!to_x.data) return;
#pragma omp parallel for num_threads(run->threads) schedule(static)
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < width; c += LANES) {
            const vfloat slope = v_load_part(call->out[0]->gradient + r * width + c, width - c);
            v_deliver(to_x, r * width + c, slope * window(call, time_of(call, r), c, width - c),
                      width - c);
        }
}

const OpKernels ISA(exponential_window_cpu) = {forward, backward};
