/* The recurrence of a state space with several inputs and a diagonal state matrix (S5, Smith,
 * Warrington and Linderman 2023, arXiv 2208.04933, section 3 and appendix H), for P complex modes:
 *
 *     x_t = lambdabar x_{t-1} + phi v_t,      v = B u
 *
 * with lambda, and lambdabar = e^(dt lambda), phi = (lambdabar - 1) / lambda or those of the
 * bilinear rule, as in ops/vandermonde. In reverse the recurrence begins at the last token. Complex
 * numbers lie as P real parts, then P imaginary parts, so that v is a product with a real matrix
 * and x the input of one. */
#ifndef LONGHAUL_OPS_DIAGONAL_SCAN_H
#define LONGHAUL_OPS_DIAGONAL_SCAN_H

#include "engine/ops/vandermonde/vandermonde.h"

typedef struct DiagonalScan {
    DiagonalForm form; /* not the softmax */
    bool reverse;
} DiagonalScan;

extern const Op op_diagonal_scan;
void diagonal_scan_reference(const ReferenceCall *call);

enum {
    DIAGONAL_SCAN_LOG_DT,
    DIAGONAL_SCAN_A_REAL,
    DIAGONAL_SCAN_A_IMAG,
    DIAGONAL_SCAN_V,
    DIAGONAL_SCAN_STATE,
    DIAGONAL_SCAN_INPUTS
};

/* v (B, L, 2 P), log_dt, A_real, A_imag (P), state (B, 1, 2 P) before the first token or NULL for
 * zero -> x (B, L, 2 P), whose last row is the next state. The state takes no gradient. */
Tensor *diagonal_scan(Tape *tape, Tensor *v, Tensor *log_dt, Tensor *A_real, Tensor *A_imag,
                      Tensor *state, DiagonalScan attributes);

#endif
