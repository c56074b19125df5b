/* The same numbers for every channel, row or head, as a tensor: x seen as (R, C) becomes
 *
 *     y[r, i, c] = x[r, c],      i = 0 .. times-1 */
#ifndef LONGHAUL_OPS_REPEAT_H
#define LONGHAUL_OPS_REPEAT_H

#include "engine/tape.h"

typedef struct Repeat {
    int64_t times;
    int64_t width; /* C; x (.., n C) -> (.., n times C) */
} Repeat;

extern const Op op_repeat;

/* x (C) -> (times, C). */
Tensor *repeat_rows(Tape *tape, Tensor *x, int64_t times);
/* x (R, 1) -> (R, times). */
Tensor *repeat_columns(Tape *tape, Tensor *x, int64_t times);
/* x (.., n width), n heads of `width` channels -> (.., n times width), each of them so many times.
 */
Tensor *repeat_heads(Tape *tape, Tensor *x, int64_t width, int64_t times);

#endif
