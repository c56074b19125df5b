/* The diagonal state space of S4D (Gu, Gupta, Goel and Re 2022, arXiv 2206.11893) as the layers of
 * several models use it. */
#ifndef LONGHAUL_MODELS_DIAGONAL_H
#define LONGHAUL_MODELS_DIAGONAL_H

#include "engine/ops/vandermonde/vandermonde.h"
#include "engine/tape.h"

/* One token: u (B, 1, D), skip (D) or NULL -> (B, 1, D), with the state SCOPE.state. */
Tensor *diagonal_token(Tape *tape, DiagonalParameters modes, Discretisation discretisation,
                       Tensor *u, Tensor *skip);

/* S4D-Lin (section 4): A_real and A_imag (D, M) of lambda_n = -1/2 + i pi n. */
Init diagonal_lin_real(void);
Init diagonal_lin_imaginary(void);

/* (D, M, 2): independent complex normal numbers of mean square 1. */
Init diagonal_complex_normal(void);

#endif
