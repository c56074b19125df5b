/* The optimiser's passes over flat arrays, one table per instruction set. Arrays must not overlap.
 * Results have the same bits for any number of threads. */
#ifndef LONGHAUL_ADAMW_H
#define LONGHAUL_ADAMW_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/op.h"

/* One step of AdamW (Loshchilov and Hutter 2017, arXiv 1711.05101, algorithm 2, with the decay
 * multiplied by the full rate as PyTorch does), for g = gradient_scale gradient:
 *
 *     m = beta1 m + (1 - beta1) g            v = beta2 v + (1 - beta2) g^2
 *     p = p - rate decay p - rate / (1 - beta1^step) m / (sqrt(v / (1 - beta2^step)) + epsilon) */
typedef struct AdamW {
    double rate, beta1, beta2, epsilon, decay;
    double gradient_scale; /* clipping factor, or 1 */
    int64_t step;          /* counts from 1 */
    bool zero_gradients;   /* leave zeros for the next accumulation, in the same pass */
} AdamW;

/* The arrays of one range of n parameters. */
typedef struct AdamWRange {
    float *values, *gradients, *moment1, *moment2;
    int64_t n;
} AdamWRange;

/* The flat arrays of all parameters, and one part of them with rates of its own: what a device that
 * updates everything in one pass is given. Parts are in order and cover [0, size). */
typedef struct AdamWFlat {
    float *values, *gradients, *moment1, *moment2;
    int64_t size;
    int64_t normed; /* of these, the first: whose gradients are in the norm. Averages lie behind */
} AdamWFlat;

typedef struct AdamWPart {
    AdamW settings;
    int64_t from, to;
    bool frozen; /* nothing of it changes */
    /* Running averages (group_average): no AdamW, but p = keep p + take gradient. */
    bool averages;
    float keep, take;
} AdamWPart;

typedef struct AdamWKernels {
    void (*update)(const AdamW *settings, AdamWRange range, int threads);
    double (*sum_of_squares)(const float *data, int64_t n, int threads);
} AdamWKernels;

/* Updates values and moments of a range; bound by memory, 28 bytes a parameter (32 with zeroing).
 */
void adamw_update(Isa isa, const AdamW *settings, AdamWRange range, int threads);

/* Sum of the squares of n floats, accumulated in double: the square of the global norm. */
double sum_of_squares(Isa isa, const float *data, int64_t n, int threads);

#endif
