/* Bound by memory: 8 bytes an element forward, 12 backward; one exponential a row. */
#include <math.h>

#include "engine/gradient_simd.h"
#include "engine/ops/gaussian_mask/gaussian_mask.h"
#include "engine/vmath.h"

typedef struct Window {
    float mean, deviation, edge;
    bool crops;
} Window;

static Window window_of(const OpCall *call) {
    const GaussianMask *attributes = call->attributes;
    const float *window = call->in[2]->data;
    const double reach = sqrt(-2 * log((double)attributes->threshold));
    const float edge = (float)((double)window[0] - (double)window[1] * reach);
    return (Window){window[0], window[1], edge, fabsf(edge) < 1};
}

static vfloat window_at(const Window *w, float s) {
    if (w->crops && s <= w->edge) return v_zero();
    const float apart = (s - w->mean) / w->deviation;
    return v_exp(v_set(-0.5f * apart * apart));
}

static void forward(const OpCall *call, const Run *run) {
    const int64_t K = extent(call->in[0], 0), C = extent(call->in[0], 1);
    const Window w = window_of(call);
#pragma omp parallel for num_threads(run->threads) schedule(static)
    for (int64_t k = 0; k < K; k++) {
        const vfloat factor = window_at(&w, call->in[1]->data[k]);
        for (int64_t c = k * C; c < (k + 1) * C; c += LANES) {
            const int64_t n = (k + 1) * C - c;
            v_store_part(call->out[0]->data + c, v_load_part(call->in[0]->data + c, n) * factor, n);
        }
    }
}

/* (dy . x) exp(..), row by row, to the gradients of mean and deviation. */
static void window_gradient(const OpCall *call, const Window *w, const float *sums,
                            GradientTarget to) {
    double mean = 0, deviation = 0;
    for (int64_t k = 0; k < extent(call->in[0], 0); k++) {
        const double apart =
            ((double)call->in[1]->data[k] - (double)w->mean) / (double)w->deviation;
        mean += (double)sums[k] * apart / (double)w->deviation;
        deviation += (double)sums[k] * apart * apart / (double)w->deviation;
    }
    to.data[0] = (float)mean + (to.add ? to.data[0] : 0);
    to.data[1] = (float)deviation + (to.add ? to.data[1] : 0);
}

static void backward(const OpCall *call, const Run *run) {
    const int64_t K = extent(call->in[0], 0), C = extent(call->in[0], 1);
    const Window w = window_of(call);
    const GradientTarget to_x = gradient_target(call, 0), to_window = gradient_target(call, 2);
    float *sums = call->scratch;
#pragma omp parallel for num_threads(run->threads) schedule(static)
    for (int64_t k = 0; k < K; k++) {
        const vfloat factor = window_at(&w, call->in[1]->data[k]);
        vfloat sum = v_zero();
        for (int64_t c = k * C; c < (k + 1) * C; c += LANES) {
            const int64_t n = (k + 1) * C - c;
            const vfloat slope = v_load_part(call->out[0]->gradient + c, n) * factor;
            sum += slope * v_load_part(call->in[0]->data + c, n);
            if (to_x.data) v_deliver(to_x, c, slope, n);
        }
        sums[k] = v_sum(sum);
    }
    if (to_window.data) window_gradient(call, &w, sums, to_window);
}

const OpKernels ISA(gaussian_mask_cpu) = {forward, backward};
