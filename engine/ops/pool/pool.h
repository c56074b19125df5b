/* One vector per sequence: x (B, L, D), lengths (B) int32 or NULL (all L) -> y (B, D), the mean
 * over the first lengths[b] positions, or the vector at the last or the first of them. */
#ifndef LONGHAUL_POOL_H
#define LONGHAUL_POOL_H

#include "engine/tape.h"

typedef enum Pooling { POOL_MEAN, POOL_LAST, POOL_FIRST } Pooling;

typedef struct Pool {
    Pooling pooling;
} Pool;

extern const Op op_pool;

/* A length outside 1 .. L is a programmer's mistake (assert). */
Tensor *pool(Tape *tape, Tensor *x, Tensor *lengths, Pooling pooling);

#endif
