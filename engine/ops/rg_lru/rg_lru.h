/* The real-gated linear recurrent unit (De, Smith et al. 2024, arXiv 2402.19427, section 2.4), in
 * every channel:
 *
 *     r = sigmoid(recurrence + its bias),  i = sigmoid(input + its bias)
 *     log a = -8 r softplus(lambda)
 *     h_t = a h_{t-1} + sqrt(1 - a^2) (i x_t);  at a sequence's first token h_0 = i x_0
 *
 * 1 - a^2 comes from e^(log a) - 1, so that slow decays lose nothing. The derivative of the root is
 * at most 1000, as in the authors' code: where a rounds to 1 it would be infinite, and what it
 * multiplies zero.
 *
 * The result is the states, all of which the reader of the result keeps anyway: backward notes none
 * of its own, and computes the gates again rather than keep 8 bytes a channel and token. */
#ifndef LONGHAUL_OPS_RG_LRU_H
#define LONGHAUL_OPS_RG_LRU_H

#include "engine/tape.h"

typedef struct RgLru {
    Tensor *x;                /* (B, L, E) */
    Tensor *recurrence;       /* (B, L, E): of the gate r, before bias and sigmoid */
    Tensor *input;            /* (B, L, E): of the gate i */
    Tensor *recurrence_bias;  /* (E) */
    Tensor *input_bias;       /* (E) */
    Tensor *lambda;           /* (E) */
    Tensor *state, *position; /* outside of training: the state before x, (B, 1, E), and x's
                               * position in the sequence, int32 (1); both NULL at its beginning */
} RgLru;

/* -> h (B, L, E), whose last row is the next state. */
Tensor *rg_lru(Tape *tape, const RgLru *inputs);

#endif
