/* Comparing two kernel reports: is a kernel faster, the same, slower, or can these samples not
 * tell? */
#ifndef LONGHAUL_COMPARE_H
#define LONGHAUL_COMPARE_H

#include <stdio.h>

#include "bench/kernels_file.h"

typedef enum Verdict {
    VERDICT_FASTER,   /* the whole interval lies below 1 / (1 + threshold) */
    VERDICT_SAME,     /* the whole interval lies within the threshold */
    VERDICT_SLOWER,   /* the whole interval lies above 1 + threshold */
    VERDICT_UNCERTAIN /* the interval includes a threshold */
} Verdict;

typedef struct Comparison {
    char name[128];
    double ratio;      /* median time new / base */
    Interval interval; /* 95 % bootstrap of the ratio of medians */
    Verdict verdict;
} Comparison;

typedef struct ComparisonReport {
    Comparison *rows;
    int count;
    int verdicts[4];
    double geometric_mean;   /* of the ratios */
    int only_base, only_new; /* cases that the other file lacks */
} ComparisonReport;

/* The verdict of one pair of sample sets (times); threshold 0.05 is five per cent. */
Comparison compare_samples(const double *base, int base_count, const double *news, int new_count,
                           double threshold);

/* STATUS_USAGE for reports of different machines or thread counts, unless forced, and for reports
 * without a common case. */
Status compare_reports(ComparisonReport *report, const KernelFile *base, const KernelFile *news,
                       double threshold, bool force, Error *error);
void comparison_free(ComparisonReport *report);
void comparison_print(const ComparisonReport *report, double threshold, FILE *out);

#endif
