/* Validation and test: the samples of a split, scored in order. */
#ifndef LONGHAUL_EVALUATE_H
#define LONGHAUL_EVALUATE_H

#include "bench/cell/breakdown.h"
#include "bench/train/session.h"

typedef struct Evaluation {
    double loss;    /* mean nats (or squared error) per label */
    double metric;  /* as problem.measure says */
    double scored;  /* labels, or samples where all labels of one are right or wrong together */
    bool at_chance; /* accuracy not distinguishable from guessing (3 standard errors of a guess) */
} Evaluation;

/* Scores samples 0 .. samples-1 of a split. breakdown: the parts that the problem has; NULL: none.
 * The processes of the team take one window of samples after the other in turn; all of them get all
 * scores. */
Evaluation session_evaluate(Session *session, Split split, int64_t samples, Breakdown *breakdown);

#endif
