/* Kernel of a diagonal state space (S4D, Gu et al. 2022, arXiv 2206.11893, section 3): M complex
 * modes a channel, each standing for itself and its conjugate,
 *     K[l, d] = 2 Re sum_n C[d, n] Bbar[d, n] lambdabar[d, n]^l,      l = 0 .. L-1,
 * with lambda = -exp(A_real) + i A_imag, dt = exp(log_dt), a = dt lambda and
 *     zoh:      lambdabar = e^a,                   Bbar = B (e^a - 1) / lambda
 *     bilinear: lambdabar = (1 + a/2) / (1 - a/2), Bbar = B dt / (1 - a/2).
 * The sign of the imaginary part is that of the authors' minimal version; their full version stores
 * its opposite. */
#ifndef LONGHAUL_VANDERMONDE_H
#define LONGHAUL_VANDERMONDE_H

#include "engine/tape.h"

typedef enum Discretisation { DISCRETISATION_ZOH, DISCRETISATION_BILINEAR } Discretisation;

typedef struct Vandermonde {
    Discretisation discretisation;
    int64_t length; /* L */
} Vandermonde;

extern const Op op_vandermonde;
void vandermonde_reference(const ReferenceCall *call);

/* The parameters of the modes, in this order among the inputs of an operation. */
typedef struct DiagonalParameters {
    Tensor *log_dt;          /* (D) */
    Tensor *A_real, *A_imag; /* (D, M) */
    Tensor *C;               /* (D, M, 2) */
    Tensor *B;               /* (D, M, 2), NULL for ones */
} DiagonalParameters;

enum { DIAGONAL_LOG_DT, DIAGONAL_A_REAL, DIAGONAL_A_IMAG, DIAGONAL_C, DIAGONAL_B, DIAGONAL_INPUTS };

/* -> K (L, D), the filter of long_convolution. */
Tensor *vandermonde(Tape *tape, DiagonalParameters parameters, Vandermonde attributes);

/* For the shape functions of operations on these inputs: reports what does not fit. */
void diagonal_check_shapes(Tape *tape, const OpCall *call);

#endif
