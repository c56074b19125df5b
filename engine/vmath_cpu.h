/* The vector functions as loops over arrays, one table per instruction set: what tests and the
 * kernel benchmark call. Kernels include engine/vmath.h instead and fuse. */
#ifndef LONGHAUL_VMATH_CPU_H
#define LONGHAUL_VMATH_CPU_H

#include <stdint.h>

#include "engine/activation.h"
#include "engine/op.h"

typedef enum VectorFunction {
    VECTOR_EXP,
    VECTOR_EXP2_DECAY,
    VECTOR_EXP2_WEIGHT,
    VECTOR_EXPM1,
    VECTOR_LOG,
    VECTOR_TANH,
    VECTOR_SIGMOID,
    VECTOR_SOFTPLUS,
    VECTOR_SIN,
    VECTOR_COS,
    VECTOR_ERF,
    VECTOR_SQRT,
    VECTOR_RECIPROCAL,
    VECTOR_NORMAL_TAIL,
    VECTOR_FUNCTION_COUNT
} VectorFunction;

/* y[i] = f(x[i]) for i < n; y may be x. */
typedef void VectorLoop(const float *x, float *y, int64_t n);

typedef struct VectorMath {
    VectorLoop *functions[VECTOR_FUNCTION_COUNT];
    void (*activate)(Activation activation, const float *x, float *y, int64_t n);
    void (*activate_gradient)(Activation activation, const float *x, float *y, int64_t n);
} VectorMath;

/* The table of an instruction set; calling one that the processor lacks is undefined. */
const VectorMath *vector_math(Isa isa);

#endif
