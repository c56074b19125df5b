/* Multi-dimensional damped exponential moving average (Mega, Ma et al. 2023, arXiv 2209.10655,
 * section 3.1) as a filter for long_convolution: N averages a channel,
 *
 *     p = sigmoid(delta),  q = 1 - p sigmoid(alpha)
 *     K[l, d] = sqrt(1 / N) sum_n p beta gamma q^(l + first),   zero where l + first >= limit
 *
 * all of them (N, D). Or, for diagonal_step, as its modes: one average is a real mode. */
#ifndef LONGHAUL_OPS_EMA_KERNEL_H
#define LONGHAUL_OPS_EMA_KERNEL_H

#include "engine/tape.h"

typedef struct EmaKernel {
    int64_t length; /* rows of K; 0: modes instead */
    int64_t first;  /* power in the first row */
    int64_t limit;  /* powers from here on are cut off; 0: none */
} EmaKernel;

extern const Op op_ema_kernel;

typedef struct EmaParameters {
    Tensor *delta, *alpha, *beta, *gamma; /* (N, D) */
} EmaParameters;
enum { EMA_DELTA, EMA_ALPHA, EMA_BETA, EMA_GAMMA, EMA_INPUTS };

/* -> K (length, D). */
Tensor *ema_kernel(Tape *tape, EmaParameters parameters, EmaKernel attributes);

/* -> (D, 4, N): q, 0, sqrt(1 / N) p beta gamma, 0. Outside of training only. */
Tensor *ema_modes(Tape *tape, EmaParameters parameters);

static inline int64_t ema_rows(const EmaKernel *attributes) {
    const int64_t left = attributes->limit - attributes->first;
    if (attributes->limit == 0 || left > attributes->length) return attributes->length;
    return left < 0 ? 0 : left; /* rows that are not zero */
}

#endif
