/* Trains one cell: the loop, the budget, validation, checkpoints, the final test. */
#ifndef LONGHAUL_TRAIN_H
#define LONGHAUL_TRAIN_H

#include "bench/cell/cell.h"
#include "bench/cell/result.h"
#include "bench/cell/team.h"

typedef struct TrainOptions {
    int threads;
    const Team *team;    /* processes that train the cell together; NULL: this one alone */
    const char *folder;  /* of the cell: checkpoint, log.jsonl. NULL: keep nothing */
    const char *weights; /* start from this safetensors file; NULL: initial weights */
    /* Called after every step at most ten times a second; NULL: silent. */
    void (*progress)(void *context, double fraction, double metric, double seconds_left);
    void *context;
    /* Asked after every step, with how many there have been: true stops, saves and returns
     * OUTCOME_INTERRUPTED, on all processes of the team. NULL: never. */
    bool (*stop)(void *context, int64_t steps);
} TrainOptions;

/* Continues from the folder's checkpoint if there is one. All processes of a team call it with the
 * same folder, in which the first one writes; status and numbers are the same on all. */
Status cell_train(const Cell *cell, const TrainOptions *options, Result *result, Error *error);

#endif
