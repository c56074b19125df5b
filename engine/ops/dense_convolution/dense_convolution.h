/* Causal convolution with a filter as long as the sequence for every pair of an input and an output
 * channel (CKConv, Romero et al. 2022, arXiv 2102.02611, equation 2):
 *
 *     y[b, t, o] = bias[o] + sum_i sum_{k <= t} filter[k, i, o] x[b, t - k, i]
 *
 * by transforms of every channel and, at every frequency, a product of complex matrices. */
#ifndef LONGHAUL_OPS_DENSE_CONVOLUTION_H
#define LONGHAUL_OPS_DENSE_CONVOLUTION_H

#include "engine/tape.h"

extern const Op op_dense_convolution;
void dense_convolution_reference(const ReferenceCall *call);

enum {
    DENSE_CONVOLUTION_X,
    DENSE_CONVOLUTION_FILTER,
    DENSE_CONVOLUTION_BIAS,
    DENSE_CONVOLUTION_INPUTS
};

/* x (B, L, I), filter (K, I, O) with K <= L, bias (O) or NULL -> (B, L, O). */
Tensor *dense_convolution(Tape *tape, Tensor *x, Tensor *filter, Tensor *bias);

#endif
