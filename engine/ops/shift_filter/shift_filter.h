/* The filter of a shift state space (H3, Fu et al. 2022, arXiv 2212.14052, section 3.1): the state
 * is a register of N numbers that moves by one place a token, so C A^j B is the correlation
 *
 *     s[j, d] = sum_m B[m, d] C[m + j, d],      j = 0 .. K-1, m + j < N. */
#ifndef LONGHAUL_OPS_SHIFT_FILTER_H
#define LONGHAUL_OPS_SHIFT_FILTER_H

#include "engine/tape.h"

typedef struct ShiftFilter {
    int64_t taps; /* K */
} ShiftFilter;

extern const Op op_shift_filter;

/* B, C (N, D), 0 < K <= N -> (K, D), the filter of long_convolution. */
Tensor *shift_filter(Tape *tape, Tensor *B, Tensor *C, int64_t taps);

#endif
