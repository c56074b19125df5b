/* Kernel of a diagonal state space (S4D, Gu et al. 2022, arXiv 2206.11893, section 3): M complex
 * modes a channel, each standing for itself and its conjugate,
 *     K[l, d] = 2 Re sum_n C[d, n] Bbar[d, n] S[d, n, l],      l = 0 .. L-1,
 * with dt = exp(log_dt), a = dt lambda and, unless it is said otherwise, S = lambdabar^l:
 *     zoh:      lambdabar = e^a,                   Bbar = B (e^a - 1) / lambda
 *     bilinear: lambdabar = (1 + a/2) / (1 - a/2), Bbar = B dt / (1 - a/2)
 *     softmax:  S = e^(a (l - p (P - 1))),         Bbar = B (e^a' - 1) r((e^(a' P) - 1) lambda)
 * where p is 1 for Re lambda > 0 and otherwise 0, a' = (1 - 2 p) a and r(x) = conj x / (|x|^2 +
 * 1e-7): the softmax of a l over l = 0 .. P-1, divided by lambda (DSS, Gupta, Gu and Berant 2022,
 * arXiv 2203.14343, proposition 1 and section 3.2). A mode that grows by more than e^0.6 a step is
 * finite, but not accurate, there.
 *
 * Real and imaginary parts of a may have steps of their own, a = dt_0 Re lambda + i dt_1 Im lambda
 * (DSS). The sign of the imaginary part is that of the authors' minimal version of S4D; their full
 * version stores its opposite. */
#ifndef LONGHAUL_VANDERMONDE_H
#define LONGHAUL_VANDERMONDE_H

#include "engine/tape.h"

typedef enum Discretisation {
    DISCRETISATION_ZOH,
    DISCRETISATION_BILINEAR,
    DISCRETISATION_SOFTMAX
} Discretisation;

/* Re lambda: -exp(A_real), A_real, or min(A_real, -1e-4). */
typedef enum RealPart { REAL_NEGATIVE_EXP, REAL_PLAIN, REAL_CLIPPED } RealPart;
/* Im lambda: A_imag or exp(A_imag). */
typedef enum ImaginaryPart { IMAGINARY_PLAIN, IMAGINARY_EXP } ImaginaryPart;

/* How parameters become modes. */
typedef struct DiagonalForm {
    Discretisation discretisation;
    RealPart real;
    ImaginaryPart imaginary;
    int64_t period; /* P, of the softmax */
} DiagonalForm;

typedef struct Vandermonde {
    DiagonalForm form;
    int64_t length; /* L; at most P */
} Vandermonde;

extern const Op op_vandermonde;
void vandermonde_reference(const ReferenceCall *call);

/* The parameters of the modes, in this order among the inputs of an operation. All but C have S
 * rows: D, or one where all channels share their modes (GSS, Mehta et al. 2022, arXiv 2206.13947).
 */
typedef struct DiagonalParameters {
    Tensor *log_dt;          /* (S), or (S, 2) for real and imaginary parts; NULL for steps of 1 */
    Tensor *A_real, *A_imag; /* (S, M) */
    Tensor *C;               /* (D, M, 2) */
    Tensor *B;               /* (S, M, 2), NULL for ones */
} DiagonalParameters;

enum { DIAGONAL_LOG_DT, DIAGONAL_A_REAL, DIAGONAL_A_IMAG, DIAGONAL_C, DIAGONAL_B, DIAGONAL_INPUTS };

/* -> K (L, D), the filter of long_convolution. */
Tensor *vandermonde(Tape *tape, DiagonalParameters parameters, DiagonalForm form, int64_t length);

/* For the shape functions of operations on these inputs: reports what does not fit. */
void diagonal_check_shapes(Tape *tape, const OpCall *call, DiagonalForm form);

/* For references: mode n of channel d, at = d M + n, in double precision, c = C Bbar and all but
 * the last as above; `first` is S[0] = e^(-a p (P - 1)). */
typedef struct ReferenceMode {
    double power[2], c[2], first[2];
} ReferenceMode;
ReferenceMode diagonal_reference_mode(const ReferenceCall *call, DiagonalForm form, int64_t at);

#endif
