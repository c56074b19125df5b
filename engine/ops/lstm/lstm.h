/* Long short-term memory over a whole sequence (Hochreiter and Schmidhuber 1997; forget gate: Gers,
 * Schmidhuber and Cummins 2000), in PyTorch's gate order i, f, g, o:
 *
 *     G_t = gates[t] + h_{t-1} W              gates[t] = x_t Wx + bias, computed outside for all t
 *     i, f, o = sigmoid(G_i, G_f, G_o);  g = tanh(G_g)
 *     c_t = f c_{t-1} + i g;  h_t = o tanh(c_t)
 */
#ifndef LONGHAUL_OPS_LSTM_H
#define LONGHAUL_OPS_LSTM_H

#include "engine/tape.h"

/* Hidden and cell state between pieces of a sequence, (B, H) each. */
typedef struct LstmState {
    Tensor *h, *c;
} LstmState;

/* gates (B, L, 4H), w (H, 4H) -> h (B, L, H). state, NULL for zeros: the state before the first
 * step; then *next receives the state after the last one. state and next go together. */
Tensor *lstm(Tape *tape, Tensor *gates, Tensor *w, const LstmState *state, LstmState *next);

#endif
