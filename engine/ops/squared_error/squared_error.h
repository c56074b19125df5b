/* Squared error of real values: prediction (R), target (R), weights (R) ->
 * row_loss (R) = (prediction - target)^2 and loss (1) = sum of weights row_loss. The caller puts
 * the normalisation into the weights (1 / R for a mean). Differentiable in the prediction. */
#ifndef LONGHAUL_SQUARED_ERROR_H
#define LONGHAUL_SQUARED_ERROR_H

#include "engine/tape.h"

typedef struct SquaredError {
    Tensor *loss, *row_loss;
} SquaredError;

extern const Op op_squared_error;

SquaredError squared_error(Tape *tape, Tensor *prediction, Tensor *target, Tensor *weights);

#endif
