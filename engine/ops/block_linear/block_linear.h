/* A linear map whose matrix is block diagonal: G blocks that each take I channels to O.
 *
 *     y[.., g O + o] = sum_i x[.., g I + i] w[g, i, o]
 */
#ifndef LONGHAUL_OPS_BLOCK_LINEAR_H
#define LONGHAUL_OPS_BLOCK_LINEAR_H

#include "engine/tape.h"

extern const Op op_block_linear;

/* x (.., G I), w (G, I, O) -> (.., G O). */
Tensor *block_linear(Tape *tape, Tensor *x, Tensor *w);

/* Blocks of four by four channels, which vectors hold several of, have kernels of their own. */
enum { NARROW_BLOCK = 4 };
static inline bool block_linear_narrow(const Tensor *w) {
    return extent(w, 1) == NARROW_BLOCK && extent(w, 2) == NARROW_BLOCK;
}

/* Rows of one unit of work, and whose part of the narrow weights' gradient is summed before it
 * joins the others: from the shape alone. */
static inline int64_t block_linear_rows(int64_t rows) {
    const int64_t chunk = (rows + 63) / 64;
    return chunk < 64 ? 64 : chunk;
}

void block_linear_reference(const ReferenceCall *call);

#endif
