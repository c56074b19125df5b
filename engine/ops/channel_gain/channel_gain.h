/* A gain for each channel, and a second tensor with gains of its own, or an offset:
 *
 *     y[.., d] = a[.., d] u[d] + b[.., d] v[d]   or   a[.., d] u[d] + v[d]
 */
#ifndef LONGHAUL_OPS_CHANNEL_GAIN_H
#define LONGHAUL_OPS_CHANNEL_GAIN_H

#include "engine/tape.h"

enum { GAIN_A, GAIN_U, GAIN_B, GAIN_V, GAIN_INPUTS };

extern const Op op_channel_gain;

/* a and b (.., D), u and v (D) -> (.., D). b may be NULL (then v is added as it is), and so may v.
 */
Tensor *channel_gain(Tape *tape, Tensor *a, Tensor *u, Tensor *b, Tensor *v);

/* Rows whose part of the gains' gradients is summed before it joins the others: from the shape
 * alone. */
static inline int64_t channel_gain_rows(int64_t rows) {
    const int64_t chunk = (rows + 63) / 64;
    return chunk < 64 ? 64 : chunk;
}
static inline int64_t channel_gain_chunks(int64_t rows) {
    return (rows + channel_gain_rows(rows) - 1) / channel_gain_rows(rows);
}

void channel_gain_reference(const ReferenceCall *call);

#endif
