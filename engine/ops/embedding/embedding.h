/* Rows of a table by number: ids (..) int32, table (V, D) -> y (.., D) = factor table[id]. */
#ifndef LONGHAUL_EMBEDDING_H
#define LONGHAUL_EMBEDDING_H

#include "engine/tape.h"

typedef struct Embedding {
    float factor;
} Embedding;

extern const Op op_embedding;

/* factor: 1, or sqrt(D) where the paper scales its embedding. An id outside 0 .. V-1 is a
 * programmer's mistake (assert). */
Tensor *embedding(Tape *tape, Tensor *ids, Tensor *table, double factor);

#endif
