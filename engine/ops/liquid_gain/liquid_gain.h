/* The gain of Liquid-S4's products of degree p when their kernel keeps powers of the input vector
 * alone ("PB"; Hasani et al. 2022, arXiv 2209.12951, section 3.2, as released): with b = dt B / (1
 * - dt lambda / 2) of the diagonal part, all sums over modes and their conjugates, v^(1) = b, v^(p)
 * = v^(p-1) sum_n v^(p-1)_n,   gain = sum_n C_n v^(p)_n = (sum C b) (sum b)^(2^(p-1) - 1). */
#ifndef LONGHAUL_LIQUID_GAIN_H
#define LONGHAUL_LIQUID_GAIN_H

#include "engine/ops/dplr_kernel/dplr_kernel.h"

typedef struct LiquidGain {
    int degree; /* p, from 2 on */
} LiquidGain;

enum { LIQUID_LOG_DT, LIQUID_A_REAL, LIQUID_A_IMAG, LIQUID_B, LIQUID_C, LIQUID_INPUTS };

extern const Op op_liquid_gain;
void liquid_gain_reference(const ReferenceCall *call);

/* -> (D), from the parameters but P, for C (D, M, 2). */
Tensor *liquid_gain(Tape *tape, DplrParameters parameters, Tensor *C, int degree);

#endif
