/* What Mamba, Mamba-2 and, of theirs, Gated DeltaNet share. */
#ifndef LONGHAUL_MODELS_MAMBA_PARTS_H
#define LONGHAUL_MODELS_MAMBA_PARTS_H

#include <math.h>

#include "engine/activation.h"
#include "models/backbone.h"

/* PyTorch's start of a linear or convolution layer: uniform in +-1 / sqrt(inputs of an output). */
static inline Init fan_in(int64_t inputs) {
    return init_uniform(1 / sqrt((double)inputs));
}

/* The short convolution of `taps` taps with its activation and, if wanted, bias: SCOPE.convolution.
 */
Tensor *mamba_convolution(Tape *tape, Tensor *x, int64_t taps, bool bias, Activation activation);

/* SCOPE.dt_bias (size): the inverse softplus, x + log(1 - e^-x), of step sizes that start
 * log-uniform in smallest .. largest, at least at 1e-4 as in the released code. */
Tensor *mamba_step_bias(Tape *tape, int64_t size, double smallest, double largest);

/* u (B, L, D) -> (B, L, size): step sizes softplus(u W + dt_bias), SCOPE.in_dt.weight. */
Tensor *mamba_steps(Tape *tape, Tensor *u, Init init, int64_t size, double smallest,
                    double largest);

/* dt (B, L, H) -> the same, log decays -exp(A_log) dt. SCOPE.A_log (H): the logarithms of numbers
 * that start uniform in smallest .. largest. */
Tensor *mamba_log_decay(Tape *tape, Tensor *dt, double smallest, double largest);

/* STATUS_USAGE when the range is empty. */
Status mamba_check_steps(double smallest, double largest, Error *error);

#endif
