/* Replays a recorded tape in double precision with the operations' plain references, and checks the
 * float32 kernels against it: outputs directly, gradients against central differences. One
 * operation or a whole model: both are tapes. */
#ifndef LONGHAUL_REFERENCE_H
#define LONGHAUL_REFERENCE_H

#include "engine/tape.h"

typedef struct Reference Reference;

/* Copies inputs and parameters of an allocated tape into doubles. */
Reference *reference_open(Tape *tape, const Run *run);
void reference_close(Reference *reference);

/* Runs all references in tape order. */
void reference_forward(Reference *reference);

/* From here on the slopes behind reference_gradient_error are remembered, and given again from the
 * first one on for the same questions in the same order: for other kernels on the same inputs. They
 * may be on another tape that was recorded by the same calls, whose tensors have the same numbers.
 */
void reference_again(Reference *reference);

/* The doubles of a tensor of the tape (or of a parameter), shape as the tensor's. */
double *reference_values(Reference *reference, const Tensor *tensor);

/* Where backward began: the loss is the sum over them of cotangent * tensor. */
typedef struct Seeds {
    int count;
    const Tensor *tensor[MAX_OUTPUTS];
    const float *cotangent[MAX_OUTPUTS]; /* as many numbers as the tensor has */
} Seeds;

/* The larger of two errors. One that is not a number is larger than any, whichever comes first. */
double worse(double a, double b);

/* Largest |actual - expected| / (|expected| + root mean square of expected) over all elements; not
 * finite anywhere in actual gives infinity. */
double reference_error(const float *actual, const double *expected, int64_t size);

/* Compares leaf->host_gradient, as tape_backward left it, with central differences of the reference
 * in `probes` single elements (first, last and random ones) and one random direction. Returns the
 * largest error relative to |expected| + root mean square of the gradient; not-a-number where one
 * is in the gradient. */
double reference_gradient_error(Reference *reference, const Tensor *leaf, const Seeds *seeds,
                                int probes);

#endif
