/* Normalisation of each row of x (.., D) over its last extent.
 *
 * Layer norm (Ba, Kiros, Hinton 2016, eq. 4): y = gamma (x - mean) / sqrt(variance + epsilon) +
 * beta, with the variance of the row itself (divided by D). RMS norm (Zhang, Sennrich 2019, eq. 4):
 * y = gamma x / sqrt(mean of x^2 + epsilon). gamma (D) and beta (D) may be NULL: 1 and 0. */
#ifndef LONGHAUL_NORM_H
#define LONGHAUL_NORM_H

#include "engine/tape.h"

typedef enum NormKind { NORM_KIND_LAYER, NORM_KIND_RMS } NormKind;

typedef struct Norm {
    NormKind kind;
    float epsilon; /* added to the variance; 1e-5 in the papers' code */
} Norm;

extern const Op op_norm;

Tensor *layer_norm(Tape *tape, Tensor *x, Tensor *gamma, Tensor *beta, double epsilon);
Tensor *rms_norm(Tape *tape, Tensor *x, Tensor *gamma, double epsilon);

/* Backward sums the parameter gradients of so many rows at a time, then adds the sums in order:
 * the same order for any number of threads. */
static inline int64_t norm_chunk_rows(int64_t rows) {
    const int64_t chunk = (rows + 63) / 64;
    return chunk < 64 ? 64 : (chunk + 15) / 16 * 16;
}

static inline int64_t norm_chunks(int64_t rows) {
    return (rows + norm_chunk_rows(rows) - 1) / norm_chunk_rows(rows);
}

#endif
