/* What tables and figures are made of: the finished cells of a suite, put in rows.
 * A row is one (model, case), the model being an architecture or what the suite calls a kind of it;
 * a case is one value for each axis, e.g. length 64, pairs 4, width 64. The cells of a row differ
 * in the tuned keys (the learning rate) and in the seed. */
#ifndef LONGHAUL_STUDY_H
#define LONGHAUL_STUDY_H

#include "bench/cell/record.h"
#include "bench/common/statistics.h"
#include "bench/sweep/suite.h"

enum { STUDY_KEYS = SUITE_KEYS, STUDY_VALUE = SUITE_KEY_BYTES, STUDY_CONFIDENCE_PERCENT = 95 };

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
    char named[SUITE_NAMED_BYTES]; /* what the suite's own names of models stand for; "": none */
    int planned;                   /* cells that the suite runs in the end; 0: not known */
    int failed;                    /* cells that could not be run */
    char failure[256];             /* label and reason of the first of them */
    Record *records;               /* owned; in the suite's order: tuned values first, then seeds */
    int count;
} Study;

/* One (model, case) after selection. Pointers go into the study. */
typedef struct Row {
    char model[STUDY_VALUE];              /* the architecture */
    char name[STUDY_VALUE];               /* under which it stands in tables and figures */
    int slot;                             /* its style in figures (bench/report/palette.h) */
    char values[STUDY_KEYS][STUDY_VALUE]; /* of the axes */
    char tuned[STUDY_KEYS][STUDY_VALUE];  /* selected values */
    int cells;                            /* tried, over all tuned values and seeds */
    const Record **seeds;                 /* cells of the selected values, by seed; owned */
    double *metrics;                      /* test metric of each; owned */
    int seed_count;
    double mean, chance;
    Interval interval; /* of the mean; not-a-number with one seed */
    int solved, at_chance, diverged;
    double budget_share; /* mean share of the budget that solved seeds had used; NAN without one */
    double flops, wall_seconds, step_seconds; /* mean, mean, median over seeds */
    double parameters, state_bytes,
        peak_bytes;    /* peak: largest of the seeds, what a machine needs */
    double early;      /* mean validation metric after a tenth of the budget; NAN: none near it */
    double validation; /* mean best validation metric: what was selected on */
    double best_possible;                  /* metric; NAN: not known */
    double nats_above_best;                /* perplexity: mean loss over that, nats a token */
    double bits_per_byte, word_perplexity; /* means over seeds; NAN: not known */
    double last_label;                     /* loss there alone; mean over seeds; NAN: not known */
    double most_frequent, first_token;     /* accuracy of these rules; likewise */
    bool best;                             /* best mean of its case */
    bool sees_ahead;                       /* every position may see the whole sequence */
    bool reading_varies;                   /* an average over cases of which some do, some do not */
    char published[192]; /* what papers have here: "0.544 (arXiv 2011.04006)"; "": nothing */
} Row;

typedef struct Summary {
    Row *rows; /* by case (numbers ascending), within a case the best mean first */
    int count;
    char averages[512]; /* what the averages among them are; "": there are none */
} Summary;

/* Rows with selection, by the rule of suite_select: the tuned values whose first seed (the first
 * record that has them) validates best, then fewer FLOPs, then the first. A seed that diverged
 * counts with the metric it ended with, or with the chance level if that is not finite. Free with
 * summary_free. */
Summary study_summarise(const Study *study);
void summary_free(Summary *summary);

/* Reads what has run of a suite. A result file that is damaged is named on standard error and left
 * out; *damaged counts them. STATUS_DATA when nothing has a result. Close with study_close, also
 * after an error. */
Status study_open(Study *study, const Suite *suite, const char *results, int *damaged,
                  Error *error);

/* Closes and frees the records. */
void study_close(Study *study);

/* True when both records are of the same model and case. */
bool study_in_row(const Study *study, const Record *a, const Record *b);

/* Tasks with their versions, in the study's order: "listops v1, text v1". */
void study_tasks(const Study *study, char *text, size_t size);

/* True when guessing is not worth the same in every case. */
bool study_chance_varies(const Study *study);

/* True when every record of the same case and seed trained on the same data. */
bool study_same_data(const Study *study);

/* Text of a setting, "" when the record has none of that key. */
const char *study_value(const Record *record, const char *key);

/* The numbers of labels that the row's test samples have, ascending, where they have several;
 * returns how many: 0 where all have the same or none were told apart. */
int study_labels(const Row *row, int64_t labels[BREAKDOWN_POSITIONS]);

/* Test accuracy of one seed of the row on samples of so many labels; chance for one that diverged
 * and has no test. */
double study_labels_accuracy(const Row *row, int seed, int64_t labels);

/* Numbers in numeric order before words in alphabetical order. */
int value_order(const char *a, const char *b);

#endif
