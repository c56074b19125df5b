/* Element by element: y[i] = f(a[i]) or f(a[i], b[i]), any shape, both inputs of the same one. */
#ifndef LONGHAUL_POINTWISE_H
#define LONGHAUL_POINTWISE_H

#include "engine/activation.h"
#include "engine/tape.h"

typedef enum PointwiseFunction {
    POINTWISE_ADD,
    POINTWISE_MULTIPLY,
    POINTWISE_GATE,
    POINTWISE_ACTIVATE,
    POINTWISE_SCALE,
    POINTWISE_COUNT
} PointwiseFunction;

typedef struct Pointwise {
    PointwiseFunction function;
    Activation activation; /* gate, activate */
    float factor;          /* scale */
} Pointwise;

extern const Op op_pointwise;

Tensor *add(Tape *tape, Tensor *a, Tensor *b);                         /* a + b */
Tensor *multiply(Tape *tape, Tensor *a, Tensor *b);                    /* a b */
Tensor *gate(Tape *tape, Tensor *a, Tensor *b, Activation activation); /* a activation(b) */
Tensor *activate(Tape *tape, Tensor *a, Activation activation);        /* activation(a) */
Tensor *scale(Tape *tape, Tensor *a, double factor);                   /* factor a */

#endif
