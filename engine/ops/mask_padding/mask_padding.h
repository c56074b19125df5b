/* Rows behind the end of their sequence become zero: x (B, L, D), lengths (B) int32 -> y (B, L, D),
 * y[b, t] = x[b, t] for t < lengths[b], 0 from there on. */
#ifndef LONGHAUL_MASK_PADDING_H
#define LONGHAUL_MASK_PADDING_H

#include "engine/tape.h"

extern const Op op_mask_padding;

/* A length outside 0 .. L is read as the nearest of the two. */
Tensor *mask_padding(Tape *tape, Tensor *x, Tensor *lengths);

#endif
