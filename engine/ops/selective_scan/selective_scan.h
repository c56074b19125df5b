/* The selective state space recurrence of Mamba (Gu and Dao 2023, arXiv 2312.00752, algorithm 2):
 * per channel e, a diagonal real state of N numbers whose step size, input and output weights
 * depend on the token.
 *
 *     delta = softplus(raw + bias)                     linear above 20
 *     s[n] <- exp(delta A[e, n]) s[n] + delta u B[n]   A = -exp(A_log)
 *     y = sum_n C[n] s[n] + D u;  with a gate z: y silu(z)
 *
 * (B, L, E, N) is never in memory: forward keeps the state before each SCAN_ROWS tokens, backward
 * computes the states between again. */
#ifndef LONGHAUL_OPS_SELECTIVE_SCAN_H
#define LONGHAUL_OPS_SELECTIVE_SCAN_H

#include "engine/tape.h"

typedef struct SelectiveScan {
    Tensor *u;     /* (B, L, E) */
    Tensor *raw;   /* (B, L, E): step size before bias and softplus */
    Tensor *A_log; /* (E, N) */
    Tensor *B, *C; /* (B, L, N) */
    Tensor *D;     /* (E) */
    Tensor *bias;  /* (E) */
    Tensor *z;     /* (B, L, E), or NULL for no gate */
    Tensor *state; /* (B, E, N) before the first token, or NULL for zero */
} SelectiveScan;

/* -> (B, L, E). With a state, *next receives the one after the last token, (B, E, N). */
Tensor *selective_scan(Tape *tape, const SelectiveScan *inputs, Tensor **next);

#endif
