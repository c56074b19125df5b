/* Comparing kernel reports: is a kernel faster, the same, slower, or can these samples not tell? */
#ifndef LONGHAUL_COMPARE_H
#define LONGHAUL_COMPARE_H

#include <stdio.h>

#include "bench/common/statistics.h"
#include "bench/speed/measured.h"

typedef enum Verdict {
    VERDICT_FASTER,    /* the whole interval lies below 1 / (1 + threshold) */
    VERDICT_SAME,      /* the whole interval lies within the threshold */
    VERDICT_SLOWER,    /* the whole interval lies above 1 + threshold */
    VERDICT_UNCERTAIN, /* the interval includes a threshold */
    VERDICT_CHANGED,   /* not compared: the same name stands for other work (FLOPs, bytes) */
    VERDICTS
} Verdict;

typedef struct Comparison {
    char name[128];
    double ratio;      /* time new / base: ratio of medians, geometric mean over the rounds */
    Interval interval; /* 95 % bootstrap */
    Verdict verdict;
} Comparison;

/* Times of one case from a base and a new run that were measured one after the other. */
typedef struct SampleRound {
    const double *base, *news;
    int base_count, new_count;
} SampleRound;

typedef struct ComparisonReport {
    Comparison *rows;
    int count;
    int verdicts[VERDICTS];
    double geometric_mean;   /* of the ratios that were compared */
    int only_base, only_new; /* cases that the other side lacks */
} ComparisonReport;

/* The verdict over one or more rounds; threshold 0.05 is five per cent. */
Comparison compare_samples(const SampleRound *rounds, int count, double threshold);

/* files: base and new in turn, as they were measured: base, new, base, new ...; rounds pairs.
 * STATUS_USAGE for reports of different machines or thread counts, unless forced, and when there is
 * no case to compare. Forced, a case whose cost changed is compared too. */
Status compare_reports(ComparisonReport *report, const MeasuredFile *files, int rounds,
                       double threshold, bool force, Error *error);
void comparison_free(ComparisonReport *report);
void comparison_print(const ComparisonReport *report, double threshold, FILE *out);

#endif
