/* Rows in front of every sequence, the same for all of them: tokens that are learned and not read,
 * such as the one whose place answers for the whole sequence (Devlin et al. 2019, arXiv 1810.04805,
 * section 3).
 *
 *     y[b, t] = front[t]        t < K
 *     y[b, t] = x[b, t - K]     K <= t < K + L */
#ifndef LONGHAUL_OPS_PREPEND_H
#define LONGHAUL_OPS_PREPEND_H

#include "engine/tape.h"

extern const Op op_prepend;

/* x (B, L, D), front (K, D) -> (B, K + L, D). */
Tensor *prepend(Tape *tape, Tensor *x, Tensor *front);

#endif
