/* Element by element, four to a thread; bound by memory. */
#include "engine/ops/pointwise/pointwise.h"

#include "engine/cuda/activation.cuh"
#include "engine/cuda/rounded.cuh"

enum { THREADS = EACH_THREADS, V = FOUR };

template <PointwiseFunction F>
KERNEL void __launch_bounds__(THREADS)
    forward_kernel(const float *__restrict__ a, const float *__restrict__ b, const Result y,
                   int64_t n, Activation activation, float factor) {
    const int64_t first = global_thread() * V;
    if (first >= n) return;
    const Lanes<V> p = some(a, first, n), q = some(b, first, n);
    Lanes<V> to;
    if constexpr (F == POINTWISE_GATE) to = activation_of(activation, q);
    if constexpr (F == POINTWISE_ACTIVATE) to = activation_of(activation, p);
    for (int e = 0; e < V; e++) {
        if constexpr (F == POINTWISE_ADD) to.of[e] = p.of[e] + q.of[e];
        if constexpr (F == POINTWISE_MULTIPLY) to.of[e] = p.of[e] * q.of[e];
        if constexpr (F == POINTWISE_GATE) to.of[e] *= p.of[e];
        if constexpr (F == POINTWISE_SCALE) to.of[e] = factor * p.of[e];
    }
    y.put_some(first, n, to);
}

/* da and db may be NULL; they may be dy itself where the plan let the gradient pass. */
template <PointwiseFunction F>
KERNEL void __launch_bounds__(THREADS)
    backward_kernel(const float *__restrict__ a, const float *__restrict__ b, const float *dy,
                    float *da, float *db, int64_t n, Activation activation, float factor,
                    bool accumulate_a, bool accumulate_b) {
    constexpr bool reads_a = F != POINTWISE_ADD && F != POINTWISE_SCALE;
    constexpr bool reads_b = F == POINTWISE_MULTIPLY || F == POINTWISE_GATE;
    const int64_t first = global_thread() * V;
    if (first >= n) return;
    const Lanes<V> g = some(dy, first, n);
    const Lanes<V> p = some(reads_a ? a : NULL, first, n), q = some(reads_b ? b : NULL, first, n);
    Lanes<V> to_a = g, to_b = g, value, slope;
    if constexpr (F == POINTWISE_GATE)
        for_activation(activation, [&](Activation own) {
            value = activation_of(own, q);
            slope = activation_slope(own, q);
        });
    if constexpr (F == POINTWISE_ACTIVATE) slope = activation_slope(activation, p);
    for (int e = 0; e < V; e++) {
        if constexpr (F == POINTWISE_MULTIPLY) {
            to_a.of[e] = g.of[e] * q.of[e];
            to_b.of[e] = g.of[e] * p.of[e];
        }
        if constexpr (F == POINTWISE_GATE) {
            to_a.of[e] = g.of[e] * value.of[e];
            to_b.of[e] = g.of[e] * p.of[e] * slope.of[e];
        }
        if constexpr (F == POINTWISE_ACTIVATE) to_a.of[e] = g.of[e] * slope.of[e];
        if constexpr (F == POINTWISE_SCALE) to_a.of[e] = g.of[e] * factor;
    }
    if (da) put_some(da, first, n, to_a, accumulate_a);
    if (db) put_some(db, first, n, to_b, accumulate_b);
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
        LAUNCH(run, backward_kernel<F>, blocks_for(n, THREADS * V), THREADS, 0, data_of(call, 0),
               data_of(call, 1), call->out[0]->gradient, first, second, n, attributes->activation,
               attributes->factor, call->accumulate[0], call->accumulate[1]);
    }
}

template <PointwiseFunction F> static void run_forward(const OpCall *call, const Run *run) {
    const Pointwise *attributes = static_cast<const Pointwise *>(call->attributes);
    const int64_t n = tensor_size(call->out[0]);
    LAUNCH(run, forward_kernel<F>, blocks_for(n, THREADS * V), THREADS, 0, data_of(call, 0),
           data_of(call, 1), result_of(call, 0), n, attributes->activation, attributes->factor);
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

static Roundable roundable(const OpCall *) {
    return {0, 0, 1u << 0};
}

CUDA_OP(pointwise, {forward, backward}, NULL, NULL, roundable);
