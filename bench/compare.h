/* Comparing files of measured times: is a case faster, the same, slower, or can these samples not
 * tell? */
#ifndef LONGHAUL_COMPARE_H
#define LONGHAUL_COMPARE_H

#include <stdio.h>

#include "bench/measured.h"
#include "bench/statistics.h"

typedef enum Verdict {
    VERDICT_FASTER,   /* the whole interval lies below 1 / (1 + threshold) */
    VERDICT_SAME,     /* the whole interval lies within the threshold */
    VERDICT_SLOWER,   /* the whole interval lies above 1 + threshold */
    VERDICT_UNCERTAIN /* the interval includes a threshold */
} Verdict;

/* Samples of one case, taken in turn: the base, then the new one. */
typedef struct Round {
    const double *base, *news;
    int base_count, new_count;
} Round;

typedef struct Comparison {
    char name[160];
    double ratio;      /* median over rounds of (median new / median base) */
    Interval interval; /* 95 % bootstrap of it */
    Verdict verdict;
} Comparison;

typedef struct ComparisonReport {
    Comparison *rows;
    int count, rounds;
    double threshold;
    int verdicts[4];
    double geometric_mean;   /* of the ratios */
    int only_base, only_new; /* cases that the other side lacks */
} ComparisonReport;

/* The bootstrap draws rounds, then samples within them: what differs from process to process and
 * from minute to minute widens the interval, however many samples each round has. threshold 0.05 is
 * five per cent. */
Comparison compare_rounds(const Round *rounds, int count, double threshold);

/* files: base, new, base, new ... in the order they were measured. STATUS_USAGE for files of
 * different kinds, machines, thread counts or work under one name, unless forced (kinds never
 * compare), and for files without a common case. */
Status compare_files(ComparisonReport *report, const MeasuredFile *files, int count,
                     double threshold, bool force, Error *error);
void comparison_free(ComparisonReport *report);
void comparison_print(const ComparisonReport *report, FILE *out);
void comparison_csv(const ComparisonReport *report, FILE *out);

#endif
