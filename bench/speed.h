/* `longhaul speed`: whole models. A training step (forward, backward, clip, AdamW), a forward pass
 * and the decoding of one token, for one cell's settings. */
#ifndef LONGHAUL_SPEED_H
#define LONGHAUL_SPEED_H

#include "bench/cell.h"
#include "bench/statistics.h"

typedef struct Timing {
    double *seconds; /* samples */
    int count;
    double median;
    Interval interval; /* 95 %, of the median */
} Timing;

typedef struct Speed {
    Timing train;   /* one optimiser step of the whole batch */
    Timing forward; /* of one replay (micro_batch samples), prediction only */
    Timing decode;  /* one token for each of micro_batch sequences; count 0: no step form */
    int64_t batch, micro_batch, length, parameters;
    double flops;        /* model FLOPs of the training step */
    double overhead;     /* share of the training step spent outside kernels */
    int64_t bytes;       /* planned peak of training */
    int64_t state_bytes; /* carried per sequence while decoding, after `length` tokens */
} Speed;

/* Measures for about `seconds` each. STATUS_USAGE when the cell does not fit in memory. */
Status speed_measure(Speed *speed, const Cell *cell, int threads, double seconds, Error *error);
void speed_free(Speed *speed);

#endif
