/* The activation functions that linear, gate and activate share. The vector forms are in
 * engine/activation_simd.h, the double-precision forms in engine/activation.c. */
#ifndef LONGHAUL_ACTIVATION_H
#define LONGHAUL_ACTIVATION_H

typedef enum Activation {
    ACTIVATION_NONE,
    ACTIVATION_RELU,
    ACTIVATION_SQUARED_RELU,
    ACTIVATION_GELU,         /* exact: x Phi(x) */
    ACTIVATION_GELU_TANH,    /* the tanh approximation of GPT-2 */
    ACTIVATION_GELU_SIGMOID, /* x sigmoid(1.702 x), GELU's other approximation */
    ACTIVATION_SILU,
    ACTIVATION_SIGMOID,
    ACTIVATION_TANH,
    ACTIVATION_SOFTPLUS, /* linear above 20, as in the papers' code */
    ACTIVATION_EXP,
    ACTIVATION_COUNT
} Activation;

const char *activation_name(Activation activation);

/* Work of one value, and nearly enough of one derivative: additions and multiplications of its
 * formula, and special functions (exp, tanh, erf, division). */
typedef struct ActivationCost {
    double flops, specials;
} ActivationCost;
ActivationCost activation_cost(Activation activation);

/* For references. */
double activation_value(Activation activation, double x);

#endif
