/* Rules that need no model, scored on the test samples: below them a model has not begun. */
#ifndef LONGHAUL_GUESS_H
#define LONGHAUL_GUESS_H

#include "bench/cell/breakdown.h"
#include "bench/train/session.h"

/* Learns the rules from the first training samples (at most 4,096 of them) and scores them on
 * samples 0 .. samples-1 of a split. The problem has one label a sample and tokens in. */
Guesses guesses_measure(const Session *session, Split split, int64_t samples);

#endif
