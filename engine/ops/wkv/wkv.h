/* The recurrence of RWKV-4 (Peng et al. 2023, arXiv:2305.13048, equation 16): in every channel a
 * mean of values, weighted by exponentials of keys that decay with age; the present one has a bonus
 * u.
 *
 *     y_t = (P_t + e^(u + k_t) v_t) / (Q_t + e^(u + k_t))             w = -exp(decay) < 0
 *     P_{t+1} = e^w P_t + e^k_t v_t,   Q_{t+1} = e^w Q_t + e^k_t      P_0 = Q_0 = 0
 *
 * No exponential can overflow: kernels hold p = P e^-o and q = Q e^-o with the exponent o of the
 * largest weight so far, so that q is at least 1. Forward keeps p, q, o before each WKV_ROWS
 * tokens, backward computes the states between again. */
#ifndef LONGHAUL_OPS_WKV_H
#define LONGHAUL_OPS_WKV_H

#include "engine/tape.h"

/* k, v (B, L, D), decay and u (D) -> y (B, L, D). state (B, 3, D), p, q and o before the first
 * token, outside of training only; q = 0 stands for no token yet; NULL for that. *next receives the
 * state after the last token. */
Tensor *wkv(Tape *tape, Tensor *k, Tensor *v, Tensor *decay, Tensor *u, Tensor *state,
            Tensor **next);

#endif
