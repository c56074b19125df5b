/* The diagonal state space of S4D (Gu, Gupta, Goel and Re 2022, arXiv 2206.11893) as the layers of
 * several models use it. */
#ifndef LONGHAUL_MODELS_DIAGONAL_H
#define LONGHAUL_MODELS_DIAGONAL_H

#include "engine/ops/diagonal_modes/diagonal_modes.h"
#include "models/state_space.h"

/* One token: u (B, 1, D), skip (D) or NULL -> (B, 1, D), with the state SCOPE.state and a table of
 * diagonal_modes (D, 4, M). */
Tensor *diagonal_token(Tape *tape, Tensor *table, Tensor *u, Tensor *skip);

/* u (B, L, D) with the kernel of the modes and, where C_ahead is not NULL, that of the same modes
 * with C_ahead (D, M, 2), which sees what follows the token. */
Tensor *diagonal_convolution(Tape *tape, DiagonalParameters modes, DiagonalForm form,
                             Tensor *C_ahead, Tensor *u, Tensor *skip);

/* SCOPE.log_dt (D), A_real, A_imag (D, M), C, B (D, M, 2) of H3 (Fu et al. 2022, arXiv 2212.14052):
 * S4D-Lin with a B that starts at one and is trained like A; C is complex normal. */
DiagonalParameters diagonal_trained(Tape *tape, const StateSpace *own, int64_t D, int64_t M);

/* S4D-Lin (section 4): A_real and A_imag (.., M) of lambda_n = -1/2 + i pi n. */
Init diagonal_lin_real(void);
Init diagonal_lin_imaginary(void);

/* Imaginary parts (.., M) of the eigenvalues of HiPPO-LegS's normal part, whose real parts are
 * -1/2: of size 2 M and the positive ones, largest first (DSS); of size M, all of them (BiGS); of
 * size 2 M / blocks and the negative ones, smallest first, once a block (S5). */
typedef enum HippoSide { HIPPO_POSITIVE, HIPPO_BOTH, HIPPO_NEGATIVE } HippoSide;
Init diagonal_hippo_imaginary(HippoSide side, int64_t blocks);

/* B (.., M, 2) of HiPPO-LegS of size 2 M in the coordinates of those eigenvectors, beside
 * HIPPO_POSITIVE of one block: real and positive, as each eigenvector may be turned. */
Init diagonal_hippo_input(void);

/* (D, M, 2): independent complex normal numbers of mean square 1. */
Init diagonal_complex_normal(void);

#endif
