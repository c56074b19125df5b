/* The recurrent cell of HiPPO (Gu, Dao, Ermon, Rudra and Re 2020, arXiv 2008.07669, section 3 and
 * figure 2) over a whole sequence: a gated tanh unit that writes one number a token into a linear
 * memory m of N coefficients and reads all of them, u_t = drive_t + h_{t-1} w_u m_t = m_{t-1} A +
 * u_t B                      or that of HiPPO-LegS below (a, b) = gates_t + m_t W_m,  g =
 * sigmoid(b),  h_t = (1 - g) h_{t-1} + g tanh(a). Without A the memory is that of HiPPO-LegS, whose
 * step size 1 / t makes it forget nothing: by the bilinear rule (1 - A / 2 k) m_t = (1 + A / 2 k)
 * m_{t-1} + B u_t / k,   A_nj = -sqrt((2 n + 1)(2 j + 1)) for j < n, A_nn = -(n + 1), B_n = sqrt(2
 * n + 1), at token t = 1, 2, ... with k = min(t, clamp); m_0 = (u_0, 0, ..). A's triangle is a
 * running sum, so a step takes 5 N operations. */
#ifndef LONGHAUL_HIPPO_CELL_H
#define LONGHAUL_HIPPO_CELL_H

#include "engine/tape.h"

typedef struct HippoCell {
    int64_t clamp; /* largest k; 0: none */
} HippoCell;

extern const Op op_hippo_cell;
void hippo_cell_reference(const ReferenceCall *call);

enum {
    HIPPO_DRIVE,
    HIPPO_GATES,
    HIPPO_W_U,
    HIPPO_W_M,
    HIPPO_A,
    HIPPO_B,
    HIPPO_H0,
    HIPPO_M0,
    HIPPO_POSITION,
    HIPPO_INPUTS
};

/* drive (B, L, 1); gates (B, L, 2H): those of tanh, then of the gate; w_u (H); w_m (N, 2H); A (N,
 * N) and b (N) or both NULL. */
typedef struct HippoWeights {
    Tensor *w_u, *w_m, *A, *b;
} HippoWeights;

/* State of the one-token step: h (B, H), m (B, N), and the number (1) of the token. */
typedef struct HippoState {
    Tensor *h, *m, *position;
} HippoState;

/* -> h (B, L, H). state NULL: starts from zero; with one, no gradient, and *next receives the state
 * after the last token (no position). No gradient for A and b. */
Tensor *hippo_cell(Tape *tape, Tensor *drive, Tensor *gates, HippoWeights weights,
                   HippoCell attributes, const HippoState *state, HippoState *next);

#endif
