/* A DPLR state space (engine/ops/dplr_kernel) as its one-token step reads it: for channel d the
 * rows of engine/ops/dplr_modes/dplr_system.h, M numbers each, with c recovered from Ct = c (1 -
 * Abar^period). They depend on parameters alone, so a tape of the one-token step computes them
 * once. */
#ifndef LONGHAUL_DPLR_MODES_H
#define LONGHAUL_DPLR_MODES_H

#include "engine/ops/dplr_kernel/dplr_kernel.h"

typedef struct DplrModes {
    int64_t period;
} DplrModes;

extern const Op op_dplr_modes;
void dplr_modes_reference(const ReferenceCall *call);

/* -> (D, 6 + 4 R, M); C_reverse is not read. Outside of training only. */
Tensor *dplr_modes(Tape *tape, DplrParameters parameters, int64_t period);

#endif
