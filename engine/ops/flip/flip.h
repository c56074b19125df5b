/* Time reversed: y[b, t] = x[b, L - 1 - t]. A causal operation between two of them looks ahead. */
#ifndef LONGHAUL_OPS_FLIP_H
#define LONGHAUL_OPS_FLIP_H

#include "engine/tape.h"

extern const Op op_flip;

/* x (B, L, D) -> (B, L, D). */
Tensor *flip(Tape *tape, Tensor *x);

#endif
