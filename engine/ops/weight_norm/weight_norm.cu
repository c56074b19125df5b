/* A thread for each column: matrices are small, and what is around them large. */
#include "engine/ops/weight_norm/weight_norm.h"

#include "engine/cuda/grid.cuh"

__device__ static float inverse_length(const float *v, int64_t rows, int64_t width) {
    float square = 0;
    for (int64_t i = 0; i < rows; i++) square += v[i * width] * v[i * width];
    return 1.0f / sqrtf(square);
}

static void forward(const OpCall *call, const Run *run) {
    const int64_t I = extent(call->out[0], 0), O = extent(call->out[0], 1);
    const float *const all = call->in[0]->data;
    float *const w = call->out[0]->data;
    for_each(run, O, [=] __device__(int64_t o) {
        const float *const v = all + o;
        const float scale = v[I * O] * inverse_length(v, I, O);
        for (int64_t i = 0; i < I; i++) w[i * O + o] = v[i * O] * scale;
    });
}

static void backward(const OpCall *call, const Run *run) {
    const int64_t I = extent(call->out[0], 0), O = extent(call->out[0], 1);
    const float *const all = call->in[0]->data, *const slopes = call->out[0]->gradient;
    float *const gradient = gradient_of(call, 0);
    const bool add = call->accumulate[0];
    if (!gradient) return;
    for_each(run, O, [=] __device__(int64_t o) {
        const float *const v = all + o, *const dw = slopes + o;
        float *const to = gradient + o;
        const float inverse = inverse_length(v, I, O);
        float dg = 0;
        for (int64_t i = 0; i < I; i++) dg += v[i * O] * dw[i * O];
        dg *= inverse;
        const float scale = v[I * O] * inverse;
        for (int64_t i = 0; i < I; i++)
            put(to + i * O, scale * (dw[i * O] - v[i * O] * inverse * dg), add);
        put(to + I * O, dg, add);
    });
}

CUDA_OP(weight_norm, {forward, backward}, NULL);
