/* The discrete modes of a diagonal state space (see ops/vandermonde) as its one-token step reads
 * them: for channel d the rows, M each,
 *     Re lambdabar, Im lambdabar, 2 Re c, -2 Im c,      c = C Bbar S[0].
 * They depend on parameters alone, so a tape of the one-token step computes them once. */
#ifndef LONGHAUL_DIAGONAL_MODES_H
#define LONGHAUL_DIAGONAL_MODES_H

#include "engine/ops/vandermonde/vandermonde.h"

typedef struct DiagonalModes {
    DiagonalForm form;
} DiagonalModes;

extern const Op op_diagonal_modes;
void diagonal_modes_reference(const ReferenceCall *call);

/* -> (D, 4, M). Outside of training only. */
Tensor *diagonal_modes(Tape *tape, DiagonalParameters parameters, DiagonalForm form);

#endif
