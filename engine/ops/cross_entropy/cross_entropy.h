/* The vocabulary head and its loss in one operation, so that the logits of all rows are never in
 * memory at once:
 *     logits = x table^T + bias,  row_loss = log(sum exp(logits)) - logits[class],
 *     loss = sum over rows of weight row_loss,  prediction = argmax of logits (lowest on ties).
 * x (.., D) with R rows, table (V, D) as an embedding table lies (it may be the same parameter),
 * bias (V) or NULL, classes (R) integers in 0 .. V-1, weights (R) constants; loss (1), row_loss
 * (R), prediction (R) integers. A row of weight 0 does not touch the loss. */
#ifndef LONGHAUL_CROSS_ENTROPY_H
#define LONGHAUL_CROSS_ENTROPY_H

#include "engine/tape.h"

extern const Op op_cross_entropy;

typedef struct CrossEntropy {
    Tensor *loss, *row_loss, *prediction;
} CrossEntropy;

CrossEntropy cross_entropy(Tape *tape, Tensor *x, Tensor *table, Tensor *bias, Tensor *classes,
                           Tensor *weights);

#endif
