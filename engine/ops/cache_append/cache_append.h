/* One row of a cache of keys and values, written in place while decoding (cache (B, Lmax, W), x
 * (B, 1, E) with column + W <= E, position int32 (1)):
 *
 *     cache[b, position, 0 .. W-1] = x[b, 0, column .. column+W-1]
 *
 * A ring holds the last of them: position modulo Lmax. Outside of training only; the result is the
 * cache itself. */
#ifndef LONGHAUL_OPS_CACHE_APPEND_H
#define LONGHAUL_OPS_CACHE_APPEND_H

#include "engine/tape.h"

typedef struct CacheAppend {
    int64_t column; /* first channel of x that is kept */
    bool ring;      /* rows are used again; otherwise a position from Lmax on is not stored */
} CacheAppend;

extern const Op op_cache_append;

/* What earlier steps have kept under this name, joined by the channels of x (B, 1, E) from the
 * column on, at the step's position -> (B, rows, E - column), carried on to the next step. */
Tensor *cache_append(Tape *tape, const char *name, int64_t rows, Tensor *x, CacheAppend attributes);

#endif
