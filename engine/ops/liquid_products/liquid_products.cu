/* Forward a thread an element; backward a thread a channel of a sequence, which goes over the
 * tokens in order, as several of them share their factors. */
#include "engine/ops/liquid_products/liquid_products.h"

#include "engine/cuda/grid.cuh"

struct Combined {
    int64_t B, L, D, n;
    int p;
    bool reversed;
    int32_t *index; /* (L, p); -1: no combination */
    __device__ int64_t row(int64_t b, int64_t t) const {
        return (b * L + (reversed ? L - 1 - t : t)) * D;
    }
};

static Combined open_call(const OpCall *call, const Run *run) {
    const LiquidProducts *attributes = static_cast<const LiquidProducts *>(call->attributes);
    const Tensor *u = call->in[0];
    Combined x = {extent(u, 0),
                  extent(u, 1),
                  extent(u, 2),
                  0,
                  attributes->degree,
                  attributes->reversed,
                  static_cast<int32_t *>(call->scratch)};
    x.n = liquid_tokens(x.L, x.p);
    for_each(run, x.L, [=] __device__(int64_t t) {
        int64_t index[LIQUID_MOST_DEGREE];
        const bool there = liquid_combination(x.L, x.n, x.p, t, index);
        for (int j = 0; j < x.p; j++) x.index[t * x.p + j] = there ? (int32_t)index[j] : -1;
    });
    return x;
}

static void forward(const OpCall *call, const Run *run) {
    const Combined x = open_call(call, run);
    const float *const u = call->in[0]->data;
    float *const y = call->out[0]->data;
    for_each(run, x.B * x.L * x.D, [=] __device__(int64_t i) {
        const int64_t d = i % x.D, t = i / x.D % x.L, b = i / x.D / x.L;
        const int32_t *index = x.index + t * x.p;
        float product = index[0] >= 0 ? 1.0f : 0.0f;
        for (int j = 0; j < x.p && index[0] >= 0; j++) product *= u[(b * x.L + index[j]) * x.D + d];
        y[x.row(b, t) + d] = product;
    });
}

static void backward(const OpCall *call, const Run *run) {
    const Combined x = open_call(call, run);
    const float *const u = call->in[0]->data, *const dy = call->out[0]->gradient;
    float *const du = call->in[0]->gradient;
    const bool accumulate = call->accumulate[0];
    for_each(run, x.B * x.D, [=] __device__(int64_t i) {
        const int64_t first = i / x.D * x.L * x.D + i % x.D;
        for (int64_t t = 0; t < x.L && !accumulate; t++) du[first + t * x.D] = 0;
        for (int64_t t = 0; t < x.L && x.index[t * x.p] >= 0; t++) {
            const int32_t *index = x.index + t * x.p;
            const float gradient = dy[x.row(i / x.D, t) + i % x.D];
            for (int j = 0; j < x.p; j++) {
                float product = gradient;
                for (int k = 0; k < x.p; k++)
                    if (k != j) product *= u[first + index[k] * x.D];
                du[first + index[j] * x.D] += product;
            }
        }
    });
}

static size_t scratch(const OpCall *call, Phase phase) {
    (void)phase;
    const LiquidProducts *attributes = static_cast<const LiquidProducts *>(call->attributes);
    return carved(extent(call->in[0], 1) * attributes->degree, sizeof(int32_t));
}

CUDA_OP(liquid_products, {forward, backward}, scratch);
