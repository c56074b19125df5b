/* The samples that training sees: which of them each step has, and in which order. */
#ifndef LONGHAUL_TRAINING_SET_H
#define LONGHAUL_TRAINING_SET_H

#include "bench/train/session.h"

typedef struct TrainingSet {
    const Session *session;
    Batch batch;    /* of a step */
    int64_t *order; /* permutation of the set in this epoch; NULL: none was wanted yet */
    int64_t epoch;  /* that `order` is of; -1: none yet */
} TrainingSet;

/* The session stays the caller's and must outlive the set. */
TrainingSet training_set_open(const Session *session);
void training_set_close(TrainingSet *set);

/* Fills set->batch with this process's samples of a step, counted from 0. Of the others' it learns
 * the weights alone, whose sum is a factor in every loss. All processes of the team call it. */
void training_set_take(TrainingSet *set, int64_t step);

/* The same with all samples of the step, by this process alone. */
void training_set_take_all(TrainingSet *set, int64_t step);

/* Of the first samples, of so many whatever the batch, so that cells with other batches can be
 * compared. */
uint64_t training_set_hash(TrainingSet *set);

#endif
