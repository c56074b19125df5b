/* The scalar memory of xLSTM (Beck et al. 2024, arXiv 2405.04517, equations 8 to 18): an LSTM whose
 * input gate is an exponential, with a normaliser n and a stabiliser m, in heads that do not see
 * each other. Per head, U units:
 *
 *     i, f, z, o = input + bias + h_{t-1} R                                    each U wide
 *     m' = max(log sigmoid(f) + m, i), or i where n is 0
 *     F = exp(log sigmoid(f) + m - m');  I = exp(i - m')
 *     c' = F c + I tanh(z);  n' = F n + I;  h' = sigmoid(o) c' / n'
 *
 * h does not depend on m, which takes no gradient. */
#ifndef LONGHAUL_OPS_SLSTM_H
#define LONGHAUL_OPS_SLSTM_H

#include "engine/tape.h"

extern const Op op_slstm;

typedef struct SlstmInputs {
    Tensor *gates_if;  /* (B, L, H 2 U): of each head i, then f */
    Tensor *gates_zo;  /* (B, L, H 2 U): z, then o */
    Tensor *recurrent; /* R (H, U, 4, U) */
    Tensor *bias;      /* (H, 4, U) */
    Tensor *state;     /* (B, 4, H U): h, c, n and m before the first token; NULL: all zero */
} SlstmInputs;

/* -> h (B, L, H U). With a state, *next receives the one behind the last token. No gradient flows
 * into the state. */
Tensor *slstm(Tape *tape, const SlstmInputs *inputs, Tensor **next);

#endif
