/* What majority and counting share: ordinary tokens, uniform and with replacement, then a question
 * mark; the model answers at the question mark. */
#ifndef LONGHAUL_MOST_FREQUENT_H
#define LONGHAUL_MOST_FREQUENT_H

#include "tasks/mode.h"
#include "tasks/task.h"

typedef struct MostFrequent {
    int64_t length, vocabulary;
} MostFrequent;

enum { MOST_FREQUENT_OPTIONS = 2 };

extern const Option most_frequent_options[MOST_FREQUENT_OPTIONS];

int64_t most_frequent_shown(const MostFrequent *own); /* N: tokens before the question mark */
int64_t most_frequent_kinds(const MostFrequent *own); /* V: different ordinary tokens */

/* The problem but for `classes` and `chance`. */
Status most_frequent_problem(const Task *task, const MostFrequent *own, Problem *problem,
                             Error *error);

/* Tokens and length of one sample, and the most frequent token. */
Mode most_frequent_draw(const MostFrequent *own, Random *random, Sample *sample);

#endif
