/* Element by element; bound by memory. */
#include "engine/ops/pointwise/pointwise.h"

#include "engine/cuda/activation.cuh"
#include "engine/cuda/grid.cuh"

enum { THREADS = 256 };

template <PointwiseFunction F>
KERNEL void __launch_bounds__(THREADS)
    forward_kernel(const float *__restrict__ a, const float *__restrict__ b, float *__restrict__ y,
                   int64_t n, Activation activation, float factor) {
    const int64_t i = global_thread();
    if (i >= n) return;
    if constexpr (F == POINTWISE_ADD) y[i] = a[i] + b[i];
    if constexpr (F == POINTWISE_MULTIPLY) y[i] = a[i] * b[i];
    if constexpr (F == POINTWISE_GATE) y[i] = a[i] * activation_of(activation, b[i]);
    if constexpr (F == POINTWISE_ACTIVATE) y[i] = activation_of(activation, a[i]);
    if constexpr (F == POINTWISE_SCALE) y[i] = factor * a[i];
}

/* da and db may be NULL; they may be dy itself where the plan let the gradient pass. */
template <PointwiseFunction F>
KERNEL void __launch_bounds__(THREADS)
    backward_kernel(const float *__restrict__ a, const float *__restrict__ b, const float *dy,
                    float *da, float *db, int64_t n, Activation activation, float factor,
                    bool accumulate_a, bool accumulate_b) {
    const int64_t i = global_thread();
    if (i >= n) return;
    const float g = dy[i];
    float to_a = g, to_b = g;
    if constexpr (F == POINTWISE_MULTIPLY) {
        to_a = g * b[i];
        to_b = g * a[i];
    }
    if constexpr (F == POINTWISE_GATE) {
        to_a = g * activation_of(activation, b[i]);
        to_b = g * a[i] * activation_slope(activation, b[i]);
    }
    if constexpr (F == POINTWISE_ACTIVATE) to_a = g * activation_slope(activation, a[i]);
    if constexpr (F == POINTWISE_SCALE) to_a = g * factor;
    if (da) put(da + i, to_a, accumulate_a);
    if (db) put(db + i, to_b, accumulate_b);
}

/* The same tensor twice, a + a: one kernel for each input, so that the second one adds. */
template <PointwiseFunction F> static void run_backward(const OpCall *call, const Run *run) {
    const Pointwise *attributes = static_cast<const Pointwise *>(call->attributes);
    const int64_t n = tensor_size(call->out[0]);
    float *const da = gradient_of(call, 0), *const db = gradient_of(call, 1);
    for (int i = 0; i < 2; i++) {
        const bool together = da != db;
        if (together && i > 0) break;
        float *first = together || i == 0 ? da : NULL, *second = together || i == 1 ? db : NULL;
        if (!first && !second) continue;
        LAUNCH(run, backward_kernel<F>, blocks_for(n, THREADS), THREADS, 0, data_of(call, 0),
               data_of(call, 1), call->out[0]->gradient, first, second, n, attributes->activation,
               attributes->factor, call->accumulate[0], call->accumulate[1]);
    }
}

template <PointwiseFunction F> static void run_forward(const OpCall *call, const Run *run) {
    const Pointwise *attributes = static_cast<const Pointwise *>(call->attributes);
    const int64_t n = tensor_size(call->out[0]);
    LAUNCH(run, forward_kernel<F>, blocks_for(n, THREADS), THREADS, 0, data_of(call, 0),
           data_of(call, 1), call->out[0]->data, n, attributes->activation, attributes->factor);
}

static const OpKernels by_function[POINTWISE_COUNT] = {
    {run_forward<POINTWISE_ADD>, run_backward<POINTWISE_ADD>},
    {run_forward<POINTWISE_MULTIPLY>, run_backward<POINTWISE_MULTIPLY>},
    {run_forward<POINTWISE_GATE>, run_backward<POINTWISE_GATE>},
    {run_forward<POINTWISE_ACTIVATE>, run_backward<POINTWISE_ACTIVATE>},
    {run_forward<POINTWISE_SCALE>, run_backward<POINTWISE_SCALE>},
};

static void forward(const OpCall *call, const Run *run) {
    by_function[static_cast<const Pointwise *>(call->attributes)->function].forward(call, run);
}

static void backward(const OpCall *call, const Run *run) {
    by_function[static_cast<const Pointwise *>(call->attributes)->function].backward(call, run);
}

CUDA_OP(pointwise, {forward, backward}, NULL);
