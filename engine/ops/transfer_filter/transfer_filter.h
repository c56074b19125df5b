/* The filter of a rational transfer function, a linear state space of N states in the coordinates
 * of its polynomials (Hyena, Poli et al. 2023, arXiv 2302.10866, appendix A.1, "TransferFunc": the
 * coefficients are trained and the polynomials evaluated by Fourier transforms; Parnichkun et al.
 * 2024, arXiv 2405.06147, algorithm 1). With w = exp(-2 pi i k / P)
 *
 *     h[t] = 1 / P sum_k H(w) / w^t,   H(w) = sum_{n=1..N} b_n w^n / (1 + sum_{n=1..N} a_n w^n)
 *
 * that is the impulse response wrapped around every P taps, which stays finite where poles have
 * left the unit circle. A tap at delay 0 is a skip, which long_convolution has. */
#ifndef LONGHAUL_OPS_TRANSFER_FILTER_H
#define LONGHAUL_OPS_TRANSFER_FILTER_H

#include "engine/tape.h"

typedef struct TransferFilter {
    int64_t period; /* P: a power of two, at least TRANSFER_LEAST, above N */
    int64_t length; /* L <= P: taps that are wanted */
} TransferFilter;

enum { TRANSFER_LEAST = 128 };

extern const Op op_transfer_filter;

/* a, b (N, D), row n - 1 for coefficient n -> (L, D), the filter of long_convolution. */
Tensor *transfer_filter(Tape *tape, Tensor *a, Tensor *b, TransferFilter attributes);

#endif
