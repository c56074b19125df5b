/* Samples as text for people: tokens or numbers in rows, the targets below them, aligned. */
#ifndef LONGHAUL_SHOW_H
#define LONGHAUL_SHOW_H

#include <stdint.h>
#include <stdio.h>

#include "tasks/task.h"

/* The task that a sample is of, opened. */
typedef struct ShownTask {
    const Task *task;
    const void *options, *data;
    const Problem *problem;
} ShownTask;

/* columns: characters of a line. Rows that equal the row above, with no target, become one '*'. */
void show_sample(FILE *file, const ShownTask *shown, const Sample *sample, int columns);

/* A picture in characters, dark to bright, shrunk to fit. grey: width x height levels. */
void show_picture(FILE *file, const uint8_t *grey, int64_t width, int64_t height, int columns);

#endif
