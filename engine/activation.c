#include "engine/activation.h"

#include <assert.h>
#include <math.h>

static const char *const names[ACTIVATION_COUNT] = {
    [ACTIVATION_NONE] = "none",
    [ACTIVATION_RELU] = "relu",
    [ACTIVATION_SQUARED_RELU] = "relu2",
    [ACTIVATION_GELU] = "gelu",
    [ACTIVATION_GELU_TANH] = "gelu_tanh",
    [ACTIVATION_GELU_SIGMOID] = "gelu_sigmoid",
    [ACTIVATION_SILU] = "silu",
    [ACTIVATION_SIGMOID] = "sigmoid",
    [ACTIVATION_TANH] = "tanh",
    [ACTIVATION_SOFTPLUS] = "softplus",
    [ACTIVATION_EXP] = "exp",
};

static double none(double x) {
    return x;
}
static double relu(double x) {
    return x > 0 ? x : 0;
}
static double squared_relu(double x) {
    return x > 0 ? x * x : 0;
}
static double gelu(double x) {
    return 0.5 * x * erfc(-x * sqrt(0.5));
}
static double sigmoid(double x) {
    return 1 / (1 + exp(-x));
}
static double gelu_tanh(double x) {
    return 0.5 * x * (1 + tanh(sqrt(2 / acos(-1.0)) * (x + 0.044715 * x * x * x)));
}
static double gelu_sigmoid(double x) {
    return x * sigmoid(1.702 * x);
}
static double silu(double x) {
    return x * sigmoid(x);
}
static double softplus(double x) {
    return x > 20 ? x : log1p(exp(x));
}

static double (*const values[ACTIVATION_COUNT])(double) = {
    [ACTIVATION_NONE] = none,
    [ACTIVATION_RELU] = relu,
    [ACTIVATION_SQUARED_RELU] = squared_relu,
    [ACTIVATION_GELU] = gelu,
    [ACTIVATION_GELU_TANH] = gelu_tanh,
    [ACTIVATION_GELU_SIGMOID] = gelu_sigmoid,
    [ACTIVATION_SILU] = silu,
    [ACTIVATION_SIGMOID] = sigmoid,
    [ACTIVATION_TANH] = tanh,
    [ACTIVATION_SOFTPLUS] = softplus,
    [ACTIVATION_EXP] = exp,
};

const char *activation_name(Activation activation) {
    assert(activation >= 0 && activation < ACTIVATION_COUNT);
    return names[activation];
}

ActivationCost activation_cost(Activation activation) {
    static const ActivationCost costs[ACTIVATION_COUNT] = {
        [ACTIVATION_RELU] = {1, 0},         [ACTIVATION_SQUARED_RELU] = {2, 0},
        [ACTIVATION_GELU] = {3, 1},         [ACTIVATION_GELU_TANH] = {7, 1},
        [ACTIVATION_GELU_SIGMOID] = {3, 2}, [ACTIVATION_SILU] = {2, 2},
        [ACTIVATION_SIGMOID] = {1, 2},      [ACTIVATION_TANH] = {0, 1},
        [ACTIVATION_SOFTPLUS] = {1, 2},     [ACTIVATION_EXP] = {0, 1},
    };
    assert(activation >= 0 && activation < ACTIVATION_COUNT);
    return costs[activation];
}

double activation_value(Activation activation, double x) {
    assert(activation >= 0 && activation < ACTIVATION_COUNT);
    return values[activation](x);
}
