/* Absolute positions, learned or fixed (Vaswani et al. 2017, section 3.5):
 *
 *     y[b, t] = x[b, t] + table[first + t]        first = position while decoding, otherwise 0 */
#ifndef LONGHAUL_OPS_POSITIONS_H
#define LONGHAUL_OPS_POSITIONS_H

#include "engine/tape.h"

extern const Op op_positions;

/* x (B, L, D), table (Lmax, D) with L <= Lmax, position int32 (1) or NULL -> (B, L, D). */
Tensor *positions(Tape *tape, Tensor *x, Tensor *table, Tensor *position);

/* The fixed table (Lmax, D), never trained: sin(t 10000^(-2i/D)) on channel 2i, its cosine on
 * channel 2i + 1 (section 3.5). */
Tensor *sinusoids(Tape *tape, const char *name, Shape shape);

#endif
