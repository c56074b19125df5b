/* Convolution of every channel with a filter as long as the sequence (S4, Gu et al. 2021, section
 * 3.3; Hyena, Poli et al. 2023, section 3.2), with the skip term and the two gates that such layers
 * put around it:
 *     x = pre u,   y_t = post_t (sum_{s <= t} h_{t-s} x_s + sum_{s > t} r_{s-t-1} x_s + skip x_t).
 * The second sum only with a reverse filter: the bidirectional form of S4, in which the reverse
 * filter begins at the next token. */
#ifndef LONGHAUL_LONG_CONVOLUTION_H
#define LONGHAUL_LONG_CONVOLUTION_H

#include "engine/tape.h"

extern const Op op_long_convolution;
void long_convolution_reference(const ReferenceCall *call);

enum {
    LONG_CONVOLUTION_U,
    LONG_CONVOLUTION_FILTER,
    LONG_CONVOLUTION_REVERSE,
    LONG_CONVOLUTION_SKIP,
    LONG_CONVOLUTION_PRE,
    LONG_CONVOLUTION_POST,
    LONG_CONVOLUTION_INPUTS
};

/* Sequences or filters up to this length are convolved tap by tap: 64 taps cost about 0.5 ns per
 * token and channel, transforms of a longer sequence 0.9 ns, on a core of 267 GFLOP/s. */
enum { LONG_CONVOLUTION_DIRECT = 64 };

/* What surrounds the sum; every field may be NULL. skip (D); pre, post (B, L, D). */
typedef struct ConvolutionGates {
    Tensor *skip, *pre, *post;
} ConvolutionGates;

/* u (B, L, D), filter (K, D), reverse (K, D) or NULL, K <= L -> (B, L, D). */
Tensor *long_convolution(Tape *tape, Tensor *u, Tensor *filter, Tensor *reverse,
                         ConvolutionGates gates);

#endif
