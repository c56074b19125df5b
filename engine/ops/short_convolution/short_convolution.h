/* Short depthwise convolution along time, with bias and activation fused:
 *
 *     y[b, t, e] = act(bias[e] + sum_j w[j, e] x[b, t - past + j, e])      j = 0 .. K-1
 *
 * past = K-1 (causal: the last tap meets the present) or K/2 (centred). Outside the sequence x is
 * zero, or before it the state. Mamba (Gu and Dao 2023, arXiv 2312.00752, figure 3) uses K = 4 and
 * SiLU, H3 and Hyena K = 3 without activation.
 *
 * Taps are time-major, (K, E), so that channels are the vector lanes of taps and rows alike. */
#ifndef LONGHAUL_OPS_SHORT_CONVOLUTION_H
#define LONGHAUL_OPS_SHORT_CONVOLUTION_H

#include "engine/activation.h"
#include "engine/tape.h"

enum { SHORT_CONVOLUTION_TAPS = 16 }; /* largest K; the smallest is 2 */

typedef struct ShortConvolution {
    Activation activation; /* ACTIVATION_NONE or ACTIVATION_SILU */
    bool centred;          /* sees K/2 rows back and K-1 - K/2 ahead; takes no state */
} ShortConvolution;

/* x (B, L, E), w (K, E), bias (E) or NULL -> (B, L, E). state, NULL for zeros: the K-1 rows before
 * the sequence, (B, K-1, E), oldest first; then *next receives the K-1 rows that end it. */
Tensor *short_convolution(Tape *tape, Tensor *x, Tensor *w, Tensor *bias,
                          ShortConvolution attributes, Tensor *state, Tensor **next);

/* Rows that y[t] sees before t. */
static inline int64_t short_convolution_past(const ShortConvolution *attributes, int64_t taps) {
    return attributes->centred ? taps / 2 : taps - 1;
}

#endif
