/* AdamW with decoupled decay (Loshchilov and Hutter 2017, arXiv 1711.05101, algorithm 2)
 * and global-norm clipping. */
#ifndef LONGHAUL_OPTIMIZER_H
#define LONGHAUL_OPTIMIZER_H

#include "engine/parameter.h"

typedef struct Optimizer {
    double rate;   /* scheduled rate of this step */
    double factor; /* of the peak rate that `rate` is, for groups with a peak rate of their own */
    double weight_decay, beta1, beta2, epsilon;
    double clip;     /* largest global gradient norm; 0: no clipping */
    int64_t replays; /* that gradients are sums of, for running averages; 0 is read as 1 */
} Optimizer;

/* One update of all trained parameters from their gradients, and of running averages from their
 * statistics; step counts from 1 (bias correction). Gradients are zero afterwards. *norm receives
 * the global gradient norm before clipping (NULL: not wanted); when it is not finite nothing is
 * changed. On a device with memory of its own it is pinned memory and the number arrives in order
 * with the device's work (DeviceRemote.update). */
void optimizer_step(const Optimizer *optimizer, Parameters *parameters, int64_t step, int threads,
                    double *norm);

#endif
