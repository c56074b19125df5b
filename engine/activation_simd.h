/* Activations and their derivatives on vectors. Called with a constant Activation, the choice
 * disappears at compile time: a kernel writes its element loop once, as an always-inline function
 * of the activation, and lets for_activation pick the copy outside the loop. */
#ifndef LONGHAUL_ACTIVATION_SIMD_H
#define LONGHAUL_ACTIVATION_SIMD_H

#include "engine/activation.h"
#include "engine/vmath.h"

/* GELU by the tanh approximation is x sigmoid(2 u) with u = sqrt(2/pi) (x + 0.044715 x^3)
 * (Hendrycks and Gimpel 2016, section 2). Returns 2 u; the clamp keeps x^3 finite. */
static inline vfloat v_gelu_tanh_argument(vfloat x, vfloat *slope) {
    const vfloat c = v_max(v_set(-30.0f), v_min(v_set(30.0f), x));
    const vfloat square = c * c;
    *slope = square * (3 * 0.0713548163f) + 1.59576912f;
    return c * (square * 0.0713548163f + 1.59576912f);
}

/* x Phi(x) = max(x, 0) - |x| Phi(-|x|): no cancellation on the negative side. */
static inline vfloat v_gelu(vfloat x) {
    const vfloat a = v_min(v_set(11.0f), v_abs(x));
    return v_max(v_zero(), x) - a * v_normal_tail(a);
}

/* Phi(x) + x phi(x). With t = Phi(-a) - a phi(a), a = |x|, this is t for x < 0 and 1 - t above;
 * phi(a) = e^(-a^2 / 2) / sqrt(2 pi), written as a power of two. */
static inline vfloat v_gelu_gradient(vfloat x) {
    const vfloat a = v_min(v_set(11.0f), v_abs(x));
    const vfloat t = v_normal_tail(a) - a * 0.398942280f * v_exp2_decay(a * a * -0.721347520f);
    return v_select(x < 0.0f, t, 1.0f - t);
}

ALWAYS_INLINE vfloat v_activate(Activation activation, vfloat x) {
    vfloat unused;
    switch (activation) {
    case ACTIVATION_RELU:
        return v_max(v_zero(), x);
    case ACTIVATION_SQUARED_RELU:
        return v_max(v_zero(), x) * v_max(v_zero(), x);
    case ACTIVATION_GELU:
        return v_gelu(x);
    case ACTIVATION_GELU_TANH:
        return x * v_sigmoid(v_gelu_tanh_argument(x, &unused));
    case ACTIVATION_GELU_SIGMOID:
        return x * v_sigmoid(1.702f * x);
    case ACTIVATION_SILU:
        return x * v_sigmoid(x);
    case ACTIVATION_SIGMOID:
        return v_sigmoid(x);
    case ACTIVATION_TANH:
        return v_tanh(x);
    case ACTIVATION_SOFTPLUS:
        return v_softplus(x);
    case ACTIVATION_EXP:
        return v_exp(x);
    case ACTIVATION_NONE:
    case ACTIVATION_COUNT:
        break;
    }
    return x;
}

/* Derivative at the pre-activation x. relu and squared relu have 0 at 0. */
ALWAYS_INLINE vfloat v_activate_gradient(Activation activation, vfloat x) {
    vfloat slope;
    switch (activation) {
    case ACTIVATION_RELU:
        return v_select(x > 0.0f, v_set(1.0f), v_zero());
    case ACTIVATION_SQUARED_RELU:
        return 2.0f * v_max(v_zero(), x);
    case ACTIVATION_GELU:
        return v_gelu_gradient(x);
    case ACTIVATION_GELU_TANH: {
        const vfloat s = v_sigmoid(v_gelu_tanh_argument(x, &slope));
        return s + x * slope * (s * (1.0f - s));
    }
    case ACTIVATION_GELU_SIGMOID: {
        const vfloat s = v_sigmoid(1.702f * x);
        return s + 1.702f * x * (s * (1.0f - s));
    }
    case ACTIVATION_SILU: {
        const vfloat s = v_sigmoid(x);
        return s + x * (s * (1.0f - s));
    }
    case ACTIVATION_SIGMOID: {
        const vfloat s = v_sigmoid(x);
        return s * (1.0f - s);
    }
    case ACTIVATION_TANH: {
        const vfloat t = v_tanh(x);
        return 1.0f - t * t;
    }
    case ACTIVATION_SOFTPLUS:
        return v_sigmoid(x);
    case ACTIVATION_EXP:
        return v_exp(x);
    case ACTIVATION_NONE:
    case ACTIVATION_COUNT:
        break;
    }
    return v_set(1.0f);
}

/* Calls body(activation, context) with the activation as a constant in each branch. */
ALWAYS_INLINE void for_activation(Activation activation, void (*body)(Activation, void *),
                                  void *context) {
    switch (activation) {
    case ACTIVATION_RELU:
        body(ACTIVATION_RELU, context);
        break;
    case ACTIVATION_SQUARED_RELU:
        body(ACTIVATION_SQUARED_RELU, context);
        break;
    case ACTIVATION_GELU:
        body(ACTIVATION_GELU, context);
        break;
    case ACTIVATION_GELU_TANH:
        body(ACTIVATION_GELU_TANH, context);
        break;
    case ACTIVATION_GELU_SIGMOID:
        body(ACTIVATION_GELU_SIGMOID, context);
        break;
    case ACTIVATION_SILU:
        body(ACTIVATION_SILU, context);
        break;
    case ACTIVATION_SIGMOID:
        body(ACTIVATION_SIGMOID, context);
        break;
    case ACTIVATION_TANH:
        body(ACTIVATION_TANH, context);
        break;
    case ACTIVATION_SOFTPLUS:
        body(ACTIVATION_SOFTPLUS, context);
        break;
    case ACTIVATION_EXP:
        body(ACTIVATION_EXP, context);
        break;
    case ACTIVATION_NONE:
    case ACTIVATION_COUNT:
        body(ACTIVATION_NONE, context);
        break;
    }
}

#endif
