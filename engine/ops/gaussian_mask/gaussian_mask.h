/* A learnable Gaussian window over the rows of a filter (FlexConv, Romero et al. 2022, arXiv
 * 2110.08059, equation 4):
 *
 *     y[k, c] = x[k, c] exp(-((s[k] - mean) / deviation)^2 / 2)
 *
 * and zero where the filter is cropped: at positions s from the point on, on the way down from the
 * mean, at which the window falls to `threshold`, if that point lies in (-1, 1). Positions take no
 * gradient, and no gradient passes through the choice of what is cropped. */
#ifndef LONGHAUL_OPS_GAUSSIAN_MASK_H
#define LONGHAUL_OPS_GAUSSIAN_MASK_H

#include "engine/tape.h"

typedef struct GaussianMask {
    float threshold; /* below 1; 0: nothing is cropped */
} GaussianMask;

extern const Op op_gaussian_mask;

/* x (K, C), positions (K) or (K, 1), window (2): mean and deviation -> (K, C). */
Tensor *gaussian_mask(Tape *tape, Tensor *x, Tensor *positions, Tensor *window,
                      GaussianMask attributes);

#endif
