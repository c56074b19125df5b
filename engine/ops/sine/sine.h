/* The sine activation of implicit filters (Sitzmann et al. 2020, arXiv 2006.09661, section 3.1;
 * Hyena, Poli et al. 2023, section 3.3), with a trained frequency for each channel:
 *
 *     y[r, c] = sin(frequency[c] x[r, c]) */
#ifndef LONGHAUL_OPS_SINE_H
#define LONGHAUL_OPS_SINE_H

#include "engine/tape.h"

extern const Op op_sine;

/* x (.., C), frequency (C) -> (.., C). */
Tensor *sine(Tape *tape, Tensor *x, Tensor *frequency);

#endif
