/* A suite: a YAML file that expands into cells. Cells of one group share model and case and differ
 * in the tuned values (variant) and the seed (repeat). Every variant runs with the first seed; the
 * best one on validation then runs with the other seeds, so every architecture gets the same number
 * of tries. A suite may name an architecture with settings of its own, so that two kinds of it
 * stand side by side: the name is the suite's, a cell is what it computes and does not know it.
 * docs/suites.md describes the file. */
#ifndef LONGHAUL_SUITE_H
#define LONGHAUL_SUITE_H

#include <limits.h>

#include "bench/cell/cell.h"

/* What the user asks for. Texts may be NULL or "". */
typedef struct SuiteRequest {
    const char *suite;          /* name of a suite that comes with the program, or a file */
    const char *preset;         /* "quick", ... */
    const char *models, *tasks; /* patterns "m*,!x" */
    const char *seeds;          /* "3": the first three; "1,5": these */
    const char *budget;
    const char *device;       /* "cpu" */
    const Settings *settings; /* key=value of the command line; a list a,b replaces an axis */
    /* Models and settings were meant for another suite: what this one has not is passed over, and
     * STATUS_DATA when no model is left. */
    bool of_another;
} SuiteRequest;

struct Invocation;
/* The request of a command whose first argument is a suite; it points into the invocation. */
SuiteRequest suite_request(const struct Invocation *invocation);

enum { SUITE_KEYS = 16, SUITE_KEY_BYTES = 64, SUITE_NAMED_BYTES = 480 };

typedef struct SuiteCell {
    Cell cell;
    Settings settings; /* with sources */
    Problem problem;
    char identity[17];
    char name[SUITE_KEY_BYTES]; /* of its model in this suite: the architecture's, or one given */
    int group, variant, repeat;
    char label[192]; /* "mamba length=64 pairs=4 width=64 lr=0.001 seed=1" */
} SuiteCell;

/* A mean over all cases, one row a model below the table's others: "avg5". */
typedef struct SuiteAverage {
    char name[SUITE_KEY_BYTES];
    /* A key of the cases: the mean over its values of the mean over the cases that have the value.
     * "": every case weighs alike. */
    char by[SUITE_KEY_BYTES];
    /* One case more, from another suite: its cells that have all the settings of `where`. A model
     * without one counts with the metric `failed`. */
    char suite[64];
    Settings where; /* owned */
    double failed;
} SuiteAverage;

enum { SUITE_AVERAGES = 4 };

typedef struct Suite {
    char name[64], preset[32], title[256], paper[256], note[256];
    char published[256];                     /* file name below results/published, or "" */
    char axes[SUITE_KEYS][SUITE_KEY_BYTES];  /* keys that make a case, in the file's order */
    char tuned[SUITE_KEYS][SUITE_KEY_BYTES]; /* keys selected on validation */
    int axis_count, tuned_count;
    SuiteAverage averages[SUITE_AVERAGES];
    int average_count;
    char named[SUITE_NAMED_BYTES]; /* "xlstm[1:0] is xlstm with blocks 1:0", or "" */
    int cases;                     /* of the preset, those included that the request leaves out */
    SuiteCell *cells;              /* by group, variant, repeat */
    int count;
    int groups, variants, repeats; /* in a group at most: variants x repeats cells */
} Suite;

/* STATUS_USAGE with file, line and key for everything that is wrong in the file or the request,
 * an empty expansion included. Nothing to close after an error. */
Status suite_open(Suite *suite, const SuiteRequest *request, Error *error);
void suite_close(Suite *suite);

/* The cells of a group are cells *first .. *end - 1. */
void suite_group(const Suite *suite, int group, int *first, int *end);

/* What a finished cell says to the selection. */
typedef struct Tried {
    bool finished;
    double validation; /* best validation metric; not-a-number counts as worst */
    double flops;      /* spent */
} Tried;

/* The selected variant of a group: best validation metric of the first seed, then fewer FLOPs
 * spent, then the first. tried: one for each cell of the suite. -1: none has finished. */
int suite_select(const Suite *suite, int group, const Tried *tried);

/* Part number, from 1, of count parts of a suite: its groups are dealt out in turn. */
typedef struct Shard {
    int number, count;
} Shard;

bool suite_in_shard(const SuiteCell *cell, const Shard *shard);

/* Cells that will have run in the end, selection included. */
int suite_cells_in_the_end(const Suite *suite);

#endif
