/* The content of a suite file for one preset, before it is multiplied out. */
#ifndef LONGHAUL_SUITE_FILE_H
#define LONGHAUL_SUITE_FILE_H

#include "bench/sweep/suite.h"

/* Alternatives; each is a group of settings that belong together. */
typedef struct Axis {
    Settings *choices;
    int count;
} Axis;

/* A name among the models: an architecture's, or one given to a kind of it. */
typedef struct SuiteModel {
    char name[SUITE_KEY_BYTES];
    Settings own;  /* what makes it that kind; an architecture has none */
    Settings last; /* of the command line, for it alone */
} SuiteModel;

/* Order of the product: the later an axis, the faster it turns. */
typedef struct SuiteFile {
    Settings base;     /* of every cell */
    Axis models;       /* model=ARCHITECTURE and the settings of all kinds of it */
    SuiteModel *names; /* one for each choice of models */
    Axis cases;        /* what tells them apart: columns of tables, axes of figures */
    Axis case_sets;    /* beside each case: its other settings */
    Axis grid[SUITE_KEYS];
    int grid_count;
    Axis tune[SUITE_KEYS];
    int tune_count;
    Axis seeds;
    Settings last; /* of the command line */
} SuiteFile;

/* Reads title, paper, note and published into *suite, the rest into *file. */
Status suite_file_read(SuiteFile *file, Suite *suite, const char *path, const SuiteRequest *request,
                       Error *error);
/* Is a key "NAME.key" for this choice of models? By its own name, or by that of its architecture
 * unless it sets the key itself. */
bool suite_names(const SuiteFile *file, int model, const char *key);

/* Puts the request's settings, seeds and budget over the file's. */
Status suite_file_override(SuiteFile *file, const SuiteRequest *request, Error *error);
void suite_file_free(SuiteFile *file);

/* Adds one alternative of one setting. */
Status axis_add(Axis *axis, const char *key, const char *value, const char *source, Error *error);
/* A new, empty alternative. */
Settings *axis_choice(Axis *axis);
void axis_free(Axis *axis);

#endif
