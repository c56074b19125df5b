#include "engine/vmath_cpu.h"

#include "engine/activation_simd.h"

extern const VectorMath ISA(vector_math);

ALWAYS_INLINE void map(vfloat (*function)(vfloat), const float *x, float *y, int64_t n) {
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) v_store(y + i, function(v_load(x + i)));
    if (i < n) v_store_part(y + i, function(v_load_part(x + i, n - i)), n - i);
}

static void map_exp(const float *x, float *y, int64_t n) {
    map(v_exp, x, y, n);
}
static void map_exp2_decay(const float *x, float *y, int64_t n) {
    map(v_exp2_decay, x, y, n);
}
static void map_exp2_weight(const float *x, float *y, int64_t n) {
    map(v_exp2_weight, x, y, n);
}
static void map_expm1(const float *x, float *y, int64_t n) {
    map(v_expm1, x, y, n);
}
static void map_log(const float *x, float *y, int64_t n) {
    map(v_log, x, y, n);
}
static void map_tanh(const float *x, float *y, int64_t n) {
    map(v_tanh, x, y, n);
}
static void map_sigmoid(const float *x, float *y, int64_t n) {
    map(v_sigmoid, x, y, n);
}
static void map_softplus(const float *x, float *y, int64_t n) {
    map(v_softplus, x, y, n);
}
static void map_sin(const float *x, float *y, int64_t n) {
    map(v_sin, x, y, n);
}
static void map_cos(const float *x, float *y, int64_t n) {
    map(v_cos, x, y, n);
}
static void map_erf(const float *x, float *y, int64_t n) {
    map(v_erf, x, y, n);
}
static void map_sqrt(const float *x, float *y, int64_t n) {
    map(v_sqrt, x, y, n);
}
static void map_reciprocal(const float *x, float *y, int64_t n) {
    map(v_reciprocal, x, y, n);
}
static void map_normal_tail(const float *x, float *y, int64_t n) {
    map(v_normal_tail, x, y, n);
}

typedef struct Arrays {
    const float *x;
    float *y;
    int64_t n;
} Arrays;

ALWAYS_INLINE void activate_arrays(Activation activation, void *context) {
    const Arrays *a = context;
    const float *x = a->x;
    float *y = a->y;
    int64_t i = 0;
    for (; i + LANES <= a->n; i += LANES) v_store(y + i, v_activate(activation, v_load(x + i)));
    if (i < a->n)
        v_store_part(y + i, v_activate(activation, v_load_part(x + i, a->n - i)), a->n - i);
}

ALWAYS_INLINE void gradient_arrays(Activation activation, void *context) {
    const Arrays *a = context;
    const float *x = a->x;
    float *y = a->y;
    int64_t i = 0;
    for (; i + LANES <= a->n; i += LANES)
        v_store(y + i, v_activate_gradient(activation, v_load(x + i)));
    if (i < a->n)
        v_store_part(y + i, v_activate_gradient(activation, v_load_part(x + i, a->n - i)),
                     a->n - i);
}

static void activate(Activation activation, const float *x, float *y, int64_t n) {
    for_activation(activation, activate_arrays, &(Arrays){x, y, n});
}

static void activate_gradient(Activation activation, const float *x, float *y, int64_t n) {
    for_activation(activation, gradient_arrays, &(Arrays){x, y, n});
}

const VectorMath ISA(vector_math) = {
    .functions =
        {
            [VECTOR_EXP] = map_exp,
            [VECTOR_EXP2_DECAY] = map_exp2_decay,
            [VECTOR_EXP2_WEIGHT] = map_exp2_weight,
            [VECTOR_EXPM1] = map_expm1,
            [VECTOR_LOG] = map_log,
            [VECTOR_TANH] = map_tanh,
            [VECTOR_SIGMOID] = map_sigmoid,
            [VECTOR_SOFTPLUS] = map_softplus,
            [VECTOR_SIN] = map_sin,
            [VECTOR_COS] = map_cos,
            [VECTOR_ERF] = map_erf,
            [VECTOR_SQRT] = map_sqrt,
            [VECTOR_RECIPROCAL] = map_reciprocal,
            [VECTOR_NORMAL_TAIL] = map_normal_tail,
        },
    .activate = activate,
    .activate_gradient = activate_gradient,
};
