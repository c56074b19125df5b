/* y = activation(x W + b) + residual: x (.., I), W (I, O), b (O) or NULL, residual and y (.., O).
 * W lies (in, out), so that the forward product needs no transposition. */
#ifndef LONGHAUL_LINEAR_H
#define LONGHAUL_LINEAR_H

#include "engine/activation.h"
#include "engine/tape.h"

typedef struct Linear {
    Activation activation;
} Linear;

extern const Op op_linear;

/* bias and residual may be NULL. */
Tensor *linear(Tape *tape, Tensor *x, Tensor *weight, Tensor *bias, Tensor *residual,
               Activation activation);

enum { LINEAR_CHUNK = 64 }; /* rows whose bias gradient is summed before it joins the others */

/* Rows that backward takes through all its parts together: x, y's gradient and x's gradient of one
 * block share half a megabyte, and a weight gradient is summed block by block. From the shape
 * alone, so that threads change no bit. */
static inline int64_t linear_block(int64_t inputs, int64_t outputs) {
    const int64_t rows = (512 << 10) / (int64_t)sizeof(float) / (2 * (inputs + outputs));
    return rows < 256 ? 256 : rows / 256 * 256;
}

/* Parts of backward's scratch: the gradient before the activation (rows, O), the column sums of the
 * chunks (chunks, O), then the workspace of the products; each begins at a multiple of 16 floats.
 */
static inline int64_t linear_inner_floats(int64_t rows, int64_t outputs) {
    return (rows * outputs + 15) / 16 * 16;
}
static inline int64_t linear_sum_floats(int64_t rows, int64_t outputs) {
    return ((rows + LINEAR_CHUNK - 1) / LINEAR_CHUNK * outputs + 15) / 16 * 16;
}

#endif
