/* The window of Hyena's filters (Poli et al. 2023, arXiv 2302.10866, section 3.3, "window"): each
 * channel decays at a rate of its own,
 *
 *     y[t, c] = x[t, c] (exp(-|rate[c]| t / (Lmax - 1)) + shift)
 *
 * Rates are constants of the architecture and take no gradient. */
#ifndef LONGHAUL_OPS_EXPONENTIAL_WINDOW_H
#define LONGHAUL_OPS_EXPONENTIAL_WINDOW_H

#include "engine/tape.h"

typedef struct ExponentialWindow {
    int64_t max_length; /* Lmax: time is 1 at position Lmax - 1 */
    float shift;
} ExponentialWindow;

extern const Op op_exponential_window;

/* x (L, C), rate (C), L <= Lmax -> (L, C). */
Tensor *exponential_window(Tape *tape, Tensor *x, Tensor *rate, ExponentialWindow attributes);

#endif
