/* The activation functions of engine/activation.h and their derivatives, in device code. */
#ifndef LONGHAUL_CUDA_ACTIVATION_H
#define LONGHAUL_CUDA_ACTIVATION_H

#include "engine/activation.h"
#include "engine/cuda/grid.cuh"

constexpr float LOG2_E = 1.44269504f;

/* 2^x, 1 / x and the square root by the special-function unit alone: some 2 units in the last
 * place, what is below the smallest normal number is zero. For loops that are bound by such
 * functions. */
#ifdef LONGHAUL_EMULATED
static inline float fast_exp2(float x) {
    return exp2f(x);
}
static inline float fast_reciprocal(float x) {
    return 1.0f / x;
}
static inline float fast_root(float x) {
    return sqrtf(x);
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
__device__ static inline float fast_root(float x) {
    float y;
    asm("sqrt.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
#endif

__device__ static inline float sigmoid_of(float x) {
    return 1.0f / (1.0f + expf(-x));
}

/* The same by the special-function unit alone: some 3 units in the last place. */
__device__ static inline float sigmoid_fast(float x) {
    return fast_reciprocal(1.0f + fast_exp2(-LOG2_E * x));
}

/* tanh(x) for |x| below TANH_NEAR, where 1 - 2 / (1 + e^(2 |x|)) cancels: errs by 8e-8. */
constexpr float TANH_NEAR = 0.6f;
__device__ static inline float tanh_near(float x) {
    const float square = x * x;
    float p = 0.0155909061f;
    p = p * square + -0.0522010885f;
    p = p * square + 0.133129835f;
    p = p * square + -0.333325952f;
    return x + x * (square * p);
}
/* By the special-function unit alone: some 4 units in the last place, no branch. */
__device__ static inline float tanh_fast(float x) {
    const float r = fast_reciprocal(1.0f + fast_exp2(2.0f * LOG2_E * fabsf(x)));
    return fabsf(x) < TANH_NEAR ? tanh_near(x) : copysignf(1.0f - 2.0f * r, x);
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

/* The standard normal distribution at -|x|: tail, its integral from below, is e^(-x^2 / 2) times a
 * polynomial of degree nine in z = (t - 3) / (t + 3) that errs by 7e-9, t = |x|; beyond 14 both are
 * zero. What z and x^2 lose by rounding is put back, so that tail errs by some 3e-7 of itself. */
struct Normal {
    float t, tail, bell; /* bell: e^(-x^2 / 2) */
};
__device__ static inline Normal normal_of(float x) {
    const float t = fabsf(x) > 14.0f ? 14.0f : fabsf(x); /* keeps what is not a number */
    const float r = fast_reciprocal(t + 3.0f), rough = (t - 3.0f) * r;
    const float z = fmaf(r, fmaf(-t, rough, fmaf(-3.0f, rough + 1.0f, t)), rough);
    float p = 5.41508598e-05f;
    p = p * z + 1.16037379e-04f;
    p = p * z + -3.39911348e-04f;
    p = p * z + -9.84182814e-04f;
    p = p * z + 2.90470268e-03f;
    p = p * z + 6.13218313e-03f;
    p = p * z + -4.62133139e-02f;
    p = p * z + 1.23225018e-01f;
    p = p * z + -2.06402615e-01f;
    p = p * z + 1.21513948e-01f;
    /* exponent -x^2 / 2 log2(e), its constant in two parts; lost: what is missing, of e's power */
    constexpr float HALF_LOG2_E = 0.721347520f, REST = 6.67487908e-09f;
    const float square = t * t, power = -HALF_LOG2_E * square;
    const float lost = -0.5f * fmaf(t, t, -square) +
                       (0.693147181f * fmaf(-HALF_LOG2_E, square, -power) - REST * square);
    const float rounded = fast_exp2(power), bell = rounded + rounded * lost;
    return {t, p * bell, bell};
}

/* x Phi(x) = max(x, 0) - |x| Phi(-|x|): no cancellation on the negative side. */
__device__ static inline float gelu_of(float x) {
    const Normal n = normal_of(x);
    return max(x, 0.0f) - n.t * n.tail;
}
/* Phi(x) + x phi(x), of which t = Phi(-|x|) - |x| phi(x) is the value at -|x| */
__device__ static inline float gelu_slope(float x) {
    const Normal n = normal_of(x);
    const float t = n.tail - n.t * 0.3989422804f * n.bell;
    return x < 0 ? t : 1.0f - t;
}

__device__ static inline float activation_of(Activation activation, float x) {
    switch (activation) {
    case ACTIVATION_RELU:
        return x > 0 ? x : 0;
    case ACTIVATION_SQUARED_RELU:
        return x > 0 ? x * x : 0;
    case ACTIVATION_GELU:
        return gelu_of(x);
    case ACTIVATION_GELU_TANH:
        return 0.5f * x * (1.0f + tanhf(gelu_argument(x)));
    case ACTIVATION_GELU_SIGMOID:
        return x * sigmoid_of(1.702f * x);
    case ACTIVATION_SILU:
        return x * sigmoid_of(x);
    case ACTIVATION_SIGMOID:
        return sigmoid_of(x);
    case ACTIVATION_TANH:
        return tanhf(x);
    case ACTIVATION_SOFTPLUS:
        return softplus_of(x);
    case ACTIVATION_EXP:
        return expf(x);
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
    case ACTIVATION_GELU:
        return gelu_slope(x);
    case ACTIVATION_GELU_TANH: {
        const float t = tanhf(gelu_argument(x));
        return 0.5f * (1.0f + t) + 0.5f * x * (1.0f - t * t) * gelu_argument_slope(x);
    }
    case ACTIVATION_GELU_SIGMOID: {
        const float s = sigmoid_of(1.702f * x);
        return s * (1.0f + 1.702f * x * (1.0f - s));
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
    case ACTIVATION_EXP:
        return expf(x);
    case ACTIVATION_NONE:
    case ACTIVATION_COUNT:
        break;
    }
    return 1.0f;
}

/* body(activation) with a constant, so that elements of a loop inside it make no choice. */
template <class Body>
__device__ static inline void for_activation(Activation activation, const Body &body) {
    switch (activation) {
    case ACTIVATION_RELU:
        return body(ACTIVATION_RELU);
    case ACTIVATION_SQUARED_RELU:
        return body(ACTIVATION_SQUARED_RELU);
    case ACTIVATION_GELU:
        return body(ACTIVATION_GELU);
    case ACTIVATION_GELU_TANH:
        return body(ACTIVATION_GELU_TANH);
    case ACTIVATION_GELU_SIGMOID:
        return body(ACTIVATION_GELU_SIGMOID);
    case ACTIVATION_SILU:
        return body(ACTIVATION_SILU);
    case ACTIVATION_SIGMOID:
        return body(ACTIVATION_SIGMOID);
    case ACTIVATION_TANH:
        return body(ACTIVATION_TANH);
    case ACTIVATION_SOFTPLUS:
        return body(ACTIVATION_SOFTPLUS);
    case ACTIVATION_EXP:
        return body(ACTIVATION_EXP);
    case ACTIVATION_NONE:
    case ACTIVATION_COUNT:
        break;
    }
    body(ACTIVATION_NONE);
}
template <int V>
__device__ static inline Lanes<V> activation_of(Activation activation, const Lanes<V> &x) {
    Lanes<V> y = {};
    for_activation(activation, [&](Activation own) {
        for (int v = 0; v < V; v++) y.of[v] = activation_of(own, x.of[v]);
    });
    return y;
}
template <int V>
__device__ static inline Lanes<V> activation_slope(Activation activation, const Lanes<V> &x) {
    Lanes<V> slope = {};
    for_activation(activation, [&](Activation own) {
        for (int v = 0; v < V; v++) slope.of[v] = activation_slope(own, x.of[v]);
    });
    return slope;
}

#endif
