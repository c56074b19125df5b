/* Trains one cell: the loop, the budget, validation, checkpoints, the final test. */
#ifndef LONGHAUL_TRAIN_H
#define LONGHAUL_TRAIN_H

#include <stdio.h>

#include "bench/breakdown.h"
#include "bench/cell.h"
#include "bench/team.h"

typedef enum Outcome {
    OUTCOME_FINISHED,   /* the budget was used */
    OUTCOME_SOLVED,     /* stopped early at the solved level */
    OUTCOME_DIVERGED,   /* loss or gradient not finite; counts as a result */
    OUTCOME_INTERRUPTED /* no result yet; checkpoint is there */
} Outcome;

/* One validation during training. */
typedef struct CurvePoint {
    int64_t step;
    double flops, seconds, tokens; /* spent on training when it was taken */
    double train_loss;             /* mean over the steps since the last point, nats per label */
    double validation_loss, validation_metric;
} CurvePoint;

enum { RESULT_STEPS = 4096 };

/* Everything measured in one cell. Written to result.json by bench/result.c. */
typedef struct Result {
    Outcome outcome;
    char failure[512];  /* OUTCOME_DIVERGED: op, layer, step */
    bool at_chance;     /* test metric not distinguishable from guessing (3 standard errors) */
    int64_t parameters; /* trained numbers */
    int64_t embedding_parameters;
    int64_t state_floats; /* carried per sequence at this length */
    int64_t steps, samples, tokens;
    double flops; /* spent: model FLOPs, evaluation excluded */
    double flops_per_step, executed_flops_per_step;
    double six_n_flops_per_step; /* 6 x parameters x tokens: cross-check only */
    double train_seconds, evaluation_seconds, wall_seconds; /* wall over all sessions of the cell */
    double step_seconds_median;
    double *step_seconds; /* one sample per step, the last RESULT_STEPS; for statistics */
    int step_seconds_count;
    int64_t peak_bytes;    /* measured: largest resident set */
    int64_t planned_bytes; /* predicted before the start */
    double train_loss;     /* at the end */
    double validation_loss, validation_metric, test_loss, test_metric;
    double best_validation_metric;
    Breakdown test; /* of perplexity tasks */
    int64_t best_step;
    CurvePoint *curve;
    int curve_count;
    uint64_t data_hash;    /* of the first training samples: equal for every model and batch */
    int threads, sessions; /* sessions: 1 + number of resumes */
    int processes;         /* that shared the last session; threads and memory are those of one */
} Result;

/* What the plan knows before anything runs. */
typedef struct CellPlan {
    int64_t parameters, embedding_parameters, state_floats;
    int64_t micro_batch;
    int64_t steps; /* that the budget buys; -1 when only time can tell */
    double flops_per_step, executed_flops_per_step, total_flops;
    int64_t bytes; /* predicted peak: arenas, parameters, moments, data */
    int64_t available_bytes;
} CellPlan;

typedef struct TrainOptions {
    int threads;
    const Team *team;    /* processes that train the cell together; NULL: this one alone */
    const char *folder;  /* of the cell: checkpoint, log.jsonl. NULL: keep nothing */
    const char *weights; /* start from this safetensors file; NULL: initial weights */
    /* Called after every step at most ten times a second; NULL: silent. */
    void (*progress)(void *context, double fraction, double metric, double seconds_left);
    void *context;
    /* Asked after every step: true stops, saves and returns OUTCOME_INTERRUPTED, on all processes
     * of the team. NULL: never. */
    bool (*stop)(void *context);
} TrainOptions;

/* Records and plans the cell without allocating. STATUS_USAGE when it cannot fit in memory. */
Status cell_plan(const Cell *cell, int threads, CellPlan *plan, Error *error);

/* Optimiser steps that a budget buys (at least 1); -1 when it is in seconds. train_samples: size of
 * the training set, 0 for endless ones (an epoch is then refused by cell_validate). */
int64_t budget_steps(const Budget *budget, const Cell *cell, const Problem *problem,
                     double flops_per_step, int64_t train_samples);

/* Continues from the folder's checkpoint if there is one. All processes of a team call it with the
 * same folder, in which the first one writes; status and numbers are the same on all. */
Status cell_train(const Cell *cell, const TrainOptions *options, Result *result, Error *error);
void result_free(Result *result);

#endif
