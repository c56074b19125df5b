/* A cell: one fully resolved configuration. One cell = one process = one folder = one result. */
#ifndef LONGHAUL_CELL_H
#define LONGHAUL_CELL_H

#include "bench/cell/budget.h"
#include "bench/cell/setting.h"
#include "models/model.h"
#include "tasks/task.h"

/* The runner's own settings of a cell. The option table is run_options (bench/cell/cell.c). */
typedef struct RunOptions {
    char budget[OPTION_TEXT_BYTES]; /* "1.6e12flop"; parsed by budget_parse */
    int64_t seed;
    int64_t batch;       /* samples in one optimiser step */
    int64_t micro_batch; /* samples in one replay; 0: chosen so that activations fit the cache */
    int64_t replicas;    /* parts of the batch with gradients apart: bench/train/part_sum.h */
    double lr;           /* peak learning rate */
    double lr_end;       /* lowest rate after the warm-up, as a fraction of lr */
    double lr_floor;     /* the same as a rate; 0: lr_end counts */
    int schedule;        /* of schedule_kinds (bench/cell/schedule.h) */
    char warmup[OPTION_TEXT_BYTES]; /* "0.1" or "1000step"; parsed by warmup_parse */
    double warmup_power;            /* of the share of the warm-up that is over */
    int64_t restarts;               /* of a cosine */
    double plateau_factor;          /* that the rate is multiplied with */
    int64_t plateau_patience;       /* validations without improvement that are let pass */
    double weight_decay;
    double beta1, beta2, epsilon;
    double clip;           /* global gradient norm; 0: off */
    int64_t train_samples; /* size of the training set; 0: fresh samples for ever */
    bool shuffle;          /* the training set is in a new order each epoch */
    int64_t validation_samples, test_samples;
    int64_t evaluations;      /* validations during training, spread evenly over the budget */
    bool stop_when_solved;    /* stop at the first validation at or above the task's solved level */
    int products;             /* Products of engine/op.h */
    int64_t checkpoint_every; /* steps; 0: by time, about once a minute */
    bool causal;              /* tasks that can be read both ways are read forwards only */
    int pool;                 /* Pooling, of a learned token when the first position counts */
    bool tied;                /* head shares the embedding table (token tasks) */
    double embedding_deviation; /* of the initial embedding */
} RunOptions;

extern const OptionTable run_options;

typedef struct Cell {
    const Task *task;
    const Model *model;
    RunOptions run;
    Backbone backbone;
    void *task_options;  /* owned; structs described by the tables of task and model */
    void *model_options; /* owned */
    char device[16];     /* "cpu" or "cuda" */
    /* Evaluation of trained weights: the longest L that they were trained for, of which tables and
     * filters stay those (no part of the identity). 0: the cell's own. */
    int64_t trained_length;
} Cell;

/* A cell with all defaults: the options' own, then the model's backbone string. */
Status cell_open(Cell *cell, const char *task, const char *model, Error *error);
void cell_close(Cell *cell);

/* key=value into whichever table knows the key: runner, backbone, task, model. A key is in one
 * table only (tested). Unknown key: STATUS_USAGE with the nearest known one. */
Status cell_set(Cell *cell, const char *key, const char *text, Error *error);

/* cell_open with the settings' last task and model, then every other setting in order. Errors name
 * the setting's source. Nothing to close after an error. */
Status cell_build(Cell *cell, const Settings *settings, Error *error);

/* The least length that an evaluation is cut down to: below it little is saved. */
enum { CELL_SHORTEST_EVALUATION = 512 };

/* Whether validation and test samples are evaluated at the shortest of L, L / 2, L / 4 .. that
 * holds them instead of all at L: where L is of the longest of generated samples, and what follows
 * a label cannot matter. problem: of a validation or test sample. */
bool cell_evaluates_by_length(const Cell *cell, const Problem *problem);

/* Checks everything that concerns more than one key; fills *problem. */
Status cell_validate(const Cell *cell, Problem *problem, Error *error);

/* Whether a position sees only what came before it, because of the task or of the settings. */
bool cell_reads_forwards(const Cell *cell, const Problem *problem);

/* One setting of a cell, in canonical text. */
typedef struct CellValue {
    const char *key;
    const char *help; /* of its option; "" for task, model and versions */
    char text[OPTION_VALUE_BYTES];
} CellValue;

/* Every setting of the cell, sorted by key, task and model first. The caller frees it. */
CellValue *cell_values(const Cell *cell, int *count);

/* All settings that can change a number, one "key: value" line each, in the order of cell_values:
 * what the identity is the hash of. Threads, device, folders, checkpoint_every, one replica and
 * other settings at the value that they had before they were settings are not in it. The caller
 * frees it. */
char *cell_text(const Cell *cell);

/* First 16 hexadecimal digits of the SHA-256 of cell_text. */
void cell_identity(const Cell *cell, char identity[17]);

#endif
