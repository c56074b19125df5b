/* What is measured while a cell is trained and tested, and the same as JSON. */
#ifndef LONGHAUL_RESULT_H
#define LONGHAUL_RESULT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bench/cell/breakdown.h"

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

/* Everything measured in one cell. bench/cell/record.h writes it to result.json. */
typedef struct Result {
    Outcome outcome;
    char failure[512];   /* OUTCOME_DIVERGED: op, layer, step */
    int64_t failed_step; /* the device's failure ended it in this step or before it; 0: none did */
    bool at_chance;      /* test metric not distinguishable from guessing (3 standard errors) */
    int64_t parameters;  /* trained numbers */
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

/* A point of the curve as a JSON object on one line, and back (false: not one). Owned by the
 * caller. */
char *point_text(const CurvePoint *point);
bool point_parse(const char *text, size_t bytes, CurvePoint *point);

/* Frees what it owns; *result is then empty. */
void result_free(Result *result);

/* Not-a-number is null in JSON, an infinity a string. */
struct json_t *result_to_json(const Result *result);
/* False when a field is missing or of the wrong type; *result then owns nothing. */
bool result_from_json(const struct json_t *json, Result *result, char *field, size_t field_bytes);

#endif
