/* The activation functions of engine/activation.h and their derivatives, in device code. */
#ifndef LONGHAUL_CUDA_ACTIVATION_H
#define LONGHAUL_CUDA_ACTIVATION_H

#include "engine/activation.h"
#include "engine/cuda/grid.cuh"

constexpr float LOG2_E = 1.44269504f;

/* 2^x and 1 / x by the special-function unit alone: some 2 units in the last place, results
 * below the smallest normal number are zero. For loops that are bound by such functions. */
#ifdef LONGHAUL_EMULATED
static inline float fast_exp2(float x) {
    return exp2f(x);
}
static inline float fast_reciprocal(float x) {
    return 1.0f / x;
}
#else
__device__ static inline float fast_exp2(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
__device__ static inline float fast_reciprocal(float x) {
    float y;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
#endif

__device__ static inline float sigmoid_of(float x) {
    return 1.0f / (1.0f + expf(-x));
}

/* log(1 + e^x); linear above 20, as in the papers' code. */
__device__ static inline float softplus_of(float x) {
    return x > 20.0f ? x : log1pf(expf(x));
}

/* sqrt(2 / pi) (x + 0.044715 x^3), GPT-2's argument of tanh, and its derivative */
__device__ static inline float gelu_argument(float x) {
    return 0.7978845608f * (x + 0.044715f * x * x * x);
}
__device__ static inline float gelu_argument_slope(float x) {
    return 0.7978845608f * (1.0f + 3.0f * 0.044715f * x * x);
}

__device__ static inline float activation_of(Activation activation, float x) {
    switch (activation) {
    case ACTIVATION_RELU:
        return x > 0 ? x : 0;
    case ACTIVATION_SQUARED_RELU:
        return x > 0 ? x * x : 0;
    case ACTIVATION_GELU:
        return 0.5f * x * erfcf(-0.7071067812f * x);
    case ACTIVATION_GELU_TANH:
        return 0.5f * x * (1.0f + tanhf(gelu_argument(x)));
    case ACTIVATION_SILU:
        return x * sigmoid_of(x);
    case ACTIVATION_SIGMOID:
        return sigmoid_of(x);
    case ACTIVATION_TANH:
        return tanhf(x);
    case ACTIVATION_SOFTPLUS:
        return softplus_of(x);
    case ACTIVATION_NONE:
    case ACTIVATION_COUNT:
        break;
    }
    return x;
}

__device__ static inline float activation_slope(Activation activation, float x) {
    switch (activation) {
    case ACTIVATION_RELU:
        return x > 0 ? 1.0f : 0.0f;
    case ACTIVATION_SQUARED_RELU:
        return x > 0 ? 2 * x : 0;
    case ACTIVATION_GELU: /* Phi(x) + x phi(x) */
        return 0.5f * erfcf(-0.7071067812f * x) + x * 0.3989422804f * expf(-0.5f * x * x);
    case ACTIVATION_GELU_TANH: {
        const float t = tanhf(gelu_argument(x));
        return 0.5f * (1.0f + t) + 0.5f * x * (1.0f - t * t) * gelu_argument_slope(x);
    }
    case ACTIVATION_SILU: {
        const float s = sigmoid_of(x);
        return s * (1.0f + x * (1.0f - s));
    }
    case ACTIVATION_SIGMOID: {
        const float s = sigmoid_of(x);
        return s * (1.0f - s);
    }
    case ACTIVATION_TANH: {
        const float t = tanhf(x);
        return 1.0f - t * t;
    }
    case ACTIVATION_SOFTPLUS:
        return x > 20.0f ? 1.0f : sigmoid_of(x);
    case ACTIVATION_NONE:
    case ACTIVATION_COUNT:
        break;
    }
    return 1.0f;
}

#endif
