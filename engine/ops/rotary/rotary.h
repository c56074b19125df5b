/* Rotary positions (Su et al. 2021, arXiv:2104.09864, section 3.2.2): within each head the pairs
 * (a, b) of channels are rotated by the position times a frequency of their own,
 *
 *     (a, b) -> (a cos - b sin, a sin + b cos),   angle = t theta^(-2 i / d),   i = 0 .. d/2 - 1
 *
 * so that products of queries and keys depend on the distance of their positions only. */
#ifndef LONGHAUL_OPS_ROTARY_H
#define LONGHAUL_OPS_ROTARY_H

#include "engine/tape.h"

typedef struct Rotary {
    int64_t heads;    /* the first so many heads are rotated, the other channels copied */
    int64_t width;    /* d of a head, even */
    double theta;     /* 10000 in the paper, 5e5 in Llama 3 */
    bool interleaved; /* pairs are channels (2i, 2i+1), the paper's; otherwise (i, i + d/2) */
    int64_t turned; /* only so many first channels of a head are rotated, as if they were all of it,
                     * and the others copied; even, 0: all */
    int64_t period; /* positions begin again at 0 after so many rows; 0: they never do */
} Rotary;

/* Channels of a head that are rotated. */
static inline int64_t rotary_turned(const Rotary *attributes) {
    return attributes->turned ? attributes->turned : attributes->width;
}

extern const Op op_rotary;

/* x (B, L, E) with heads d <= E; position int32 (1) of the first row, or NULL for 0 -> (B, L, E).
 */
Tensor *rotary(Tape *tape, Tensor *x, Tensor *position, const Rotary *attributes);

/* Positions are split as high * span + low, and cos and sin of both halves tabulated in double
 * precision: two small tables instead of one of the sequence's length. */
static inline int64_t rotary_span(int64_t length) {
    return length < 32 ? 1 : 32;
}

/* Positions that a call can meet, from the first one on. */
static inline int64_t rotary_positions(const Rotary *attributes, int64_t length) {
    return attributes->period ? attributes->period : length;
}

#endif
