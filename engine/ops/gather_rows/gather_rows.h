/* The rows at labelled positions: x (B, L, D), positions (B, K) int32 -> y (B K, D),
 * y[b K + k] = x[b, position[b, k]]. A head that only sees these rows costs K / L of one that sees
 * all of them. Positions may repeat. */
#ifndef LONGHAUL_GATHER_ROWS_H
#define LONGHAUL_GATHER_ROWS_H

#include "engine/tape.h"

extern const Op op_gather_rows;

/* A position outside 0 .. L-1 is a programmer's mistake (assert). */
Tensor *gather_rows(Tape *tape, Tensor *x, Tensor *positions);

#endif
