/* Batch normalisation of each channel of x (.., D) over all R rows (Ioffe and Szegedy 2015, arXiv
 * 1502.03167, algorithm 1):
 *
 *     y = gamma (x - mean) / sqrt(variance + epsilon) + beta
 *
 * In training mean and variance (divided by R) are those of this call's rows, padding included, and
 * their gradients are part of x's. Otherwise they are running averages, so that a row's result
 * depends on that row alone.
 *
 * The running averages are parameters of a group_average (engine/parameter.h): what backward adds
 * to their gradients is no derivative but the mean and the unbiased variance (divided by R - 1, as
 * PyTorch keeps it) of the call's rows. So a step counts each replay once, also one whose forward
 * part is recomputed. */
#ifndef LONGHAUL_BATCH_NORM_H
#define LONGHAUL_BATCH_NORM_H

#include "engine/tape.h"

/* Inputs; all but x are (D). The last two may be left out where `running` is false. */
enum { BATCH_X, BATCH_GAMMA, BATCH_BETA, BATCH_MEAN, BATCH_VARIANCE, BATCH_INPUTS };
/* Outputs. Mean and variance (D) of the rows, for backward: only where `running` is false, and
 * gradients do not come back through them. */
enum { BATCH_Y, BATCH_ROW_MEAN, BATCH_ROW_VARIANCE, BATCH_OUTPUTS };

typedef struct BatchNorm {
    float epsilon; /* 1e-5 in the papers' code */
    bool running;  /* by the running averages; has no gradient */
} BatchNorm;

extern const Op op_batch_norm;

/* By the rows' own statistics on a tape that trains, which then needs at least two, and by the
 * running ones on others. mean, variance: see above. */
Tensor *batch_norm(Tape *tape, Tensor *x, Tensor *gamma, Tensor *beta, Tensor *mean,
                   Tensor *variance, double epsilon);

/* Kernels take so many rows together, whose sums are added in order: the same sums for any number
 * of threads. */
enum { BATCH_CHUNK = 256 };
static inline int64_t batch_chunks(int64_t rows) {
    return (rows + BATCH_CHUNK - 1) / BATCH_CHUNK;
}

#endif
