/* What decoding steps of attention share: the softmax of one query's scores, natural logarithms,
 * which come up to KEYS at a time. */
#ifndef LONGHAUL_OPS_ATTENTION_SINGLE_H
#define LONGHAUL_OPS_ATTENTION_SINGLE_H

#include <math.h>

#include "engine/ops/attention/attention_tile.h"
#include "engine/vmath.h"

/* Begins as {-INFINITY, 0}. */
typedef struct SingleSoftmax {
    float largest, sum; /* score so far; of exp(score - largest) */
} SingleSoftmax;

/* Scores, in whole vectors with -inf behind the last of `count`, become weights; top has the
 * largest score in one of its lanes. Returns what has been added up of earlier pieces has to be
 * multiplied by. */
static inline float softmax_piece(SingleSoftmax *softmax, float *scores, int64_t count,
                                  vfloat top) {
    const float now = fmaxf(softmax->largest, v_largest(top));
    vfloat total = v_zero();
    for (int64_t j = 0; j < count; j += LANES) {
        const vfloat p = v_exp(v_load(scores + j) - now);
        v_store(scores + j, p);
        total += p;
    }
    const float keep = v_exp(v_set(softmax->largest - now))[0];
    softmax->sum = softmax->sum * keep + v_sum(total);
    softmax->largest = now;
    return keep;
}

/* Makes o (width) of sums and returns the log-sum-exp, base 2. */
static inline float softmax_end(const SingleSoftmax *softmax, float *o, int64_t width) {
    for (int64_t c = 0; c < width; c++) o[c] /= softmax->sum;
    return (softmax->largest + logf(softmax->sum)) * LOG2_E;
}

#endif
