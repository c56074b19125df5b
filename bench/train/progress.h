/* What a cell in training tells whoever started it: a person at a terminal, a log, or a sweep. */
#ifndef LONGHAUL_PROGRESS_H
#define LONGHAUL_PROGRESS_H

#include <stdbool.h>

#include "engine/status.h"

/* Progress of one cell, as a line of text over a pipe. */
typedef struct Progress {
    double fraction; /* of the budget */
    double metric;   /* last validation; not-a-number before the first */
    double seconds_left;
} Progress;

/* Writes and reads one record, "progress 0.25 0.8313 12.5\n". False when the line is no record. */
enum { PROGRESS_BYTES = 96 };
int progress_format(const Progress *progress, char line[PROGRESS_BYTES]);
bool progress_parse(const char *line, Progress *progress);

/* "45 s", "12:34 min", "1:02 h"; "?" when not finite. */
enum { DURATION_BYTES = 32 };
void duration_text(double seconds, char text[DURATION_BYTES]);

#endif
