/* Means over the cases of a suite, as benchmarks of several tasks report them: a row for each model
 * and average, below the rows of the cases. */
#ifndef LONGHAUL_AVERAGE_H
#define LONGHAUL_AVERAGE_H

#include "bench/report/published.h"
#include "bench/report/study.h"

/* Rows of the cells that an average takes from another suite, one Summary for each average of the
 * suite; none where it takes none or nothing of it has run. */
typedef struct AverageSources {
    Suite suites[SUITE_AVERAGES];
    Study studies[SUITE_AVERAGES];
    Summary rows[SUITE_AVERAGES];
} AverageSources;

/* Reads them from the results folder, with the request's preset, models, seeds and settings. */
Status average_sources_open(AverageSources *sources, const Suite *suite,
                            const SuiteRequest *request, const char *results, Error *error);
void average_sources_close(AverageSources *sources);

/* Appends the averages of every model that has a row in every case of the preset, and says in
 * summary->averages what they are. The first axis holds the average's name. With the same seeds in
 * all cases an average is taken for each seed, and its interval is over those; otherwise it is the
 * mean of the cases' means, without an interval. Beside it stands what the points of one paper give
 * by the same rule, where it has all of them. */
void averages_append(Summary *summary, const Study *study, const Suite *suite,
                     const AverageSources *sources, const Published *published);

#endif
