/* What tables and figures are made of: the finished cells of a suite, put in rows.
 * A row is one (model, case); a case is one value for each axis, e.g. length 64, pairs 4, width 64.
 * The cells of a row differ in the tuned keys (the learning rate) and in the seed. */
#ifndef LONGHAUL_STUDY_H
#define LONGHAUL_STUDY_H

#include "bench/result.h"
#include "bench/statistics.h"

enum { STUDY_KEYS = 8, STUDY_VALUE = 64, STUDY_CONFIDENCE_PERCENT = 95 };

/* All that is known of a suite's runs. */
typedef struct Study {
    char suite[64], preset[16], task[48];
    int task_version;
    char metric[32]; /* "accuracy" */
    bool higher_is_better;
    double chance, solved;
    char axes[STUDY_KEYS][STUDY_VALUE]; /* keys that make a case, in the suite's order */
    int axis_count;
    char tuned[STUDY_KEYS][STUDY_VALUE]; /* keys whose value is selected on validation */
    int tuned_count;
    int planned;     /* cells of the suite; 0: not known */
    Record *records; /* owned */
    int count;
} Study;

/* One (model, case) after selection. Pointers go into the study. */
typedef struct Row {
    char model[STUDY_VALUE];
    char values[STUDY_KEYS][STUDY_VALUE]; /* of the axes */
    char tuned[STUDY_KEYS][STUDY_VALUE];  /* selected values */
    int cells;                            /* tried, over all tuned values and seeds */
    const Record **seeds;                 /* cells of the selected values, by seed; owned */
    double *metrics;                      /* test metric of each; owned */
    int seed_count;
    double mean;
    Interval interval; /* of the mean; not-a-number with one seed */
    int solved, at_chance, diverged;
    double budget_share; /* mean share of the budget that solved seeds had used; NAN without one */
    double flops, wall_seconds, step_seconds; /* mean, mean, median over seeds */
    double parameters, state_bytes,
        peak_bytes;    /* peak: largest of the seeds, what a machine needs */
    double validation; /* mean best validation metric: what was selected on */
    bool best;         /* best mean of its case */
} Row;

typedef struct Summary {
    Row *rows; /* by case (numbers ascending), within a case the best mean first */
    int count;
} Summary;

/* Fills study->axes for a suite that names none: keys that differ between cells of one model,
 * without the seed, the tuned keys and what only says how a cell is run. */
void study_find_axes(Study *study);

/* Rows with selection. A seed that diverged counts with the metric it ended with, or with the
 * chance level if that is not finite. Free with summary_free. */
Summary study_summarise(const Study *study);
void summary_free(Summary *summary);

/* Closes and frees the records. */
void study_close(Study *study);

/* True when every record of the same case and seed trained on the same data. */
bool study_same_data(const Study *study);

/* Text of a setting, "" when the record has none of that key. */
const char *study_value(const Record *record, const char *key);

/* Test metric of a record as it enters means. */
double study_metric(const Study *study, const Record *record);

/* Numbers in numeric order before words in alphabetical order. */
int value_order(const char *a, const char *b);

#endif
