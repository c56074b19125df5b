/* One output of a causal long convolution while decoding: the direct sum over all inputs so far. A
 * filter that no recurrence describes has no smaller state than these inputs (Poli et al. 2023,
 * section 5 names the cost: L multiply-adds a token and channel).
 *
 *     y[b] = sum_{s <= position} filter[position - s] cache[b, s] + skip cache[b, position] */
#ifndef LONGHAUL_OPS_LONG_CONVOLUTION_STEP_H
#define LONGHAUL_OPS_LONG_CONVOLUTION_STEP_H

#include "engine/tape.h"

extern const Op op_long_convolution_step;

/* cache (B, R, D), filter (K, D), K <= R, skip (D), position int32 (1) -> (B, 1, D). Input s lies
 * in row s modulo R: all of them, or a ring of the last R. Taps from K on count as zero. */
Tensor *long_convolution_step(Tape *tape, Tensor *cache, Tensor *filter, Tensor *skip,
                              Tensor *position);

#endif
