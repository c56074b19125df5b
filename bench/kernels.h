/* Kernel benchmark: every row of the case tables that is marked for it, forward and backward,
 * against the ceilings of the machine measured in the same run. All samples are kept. */
#ifndef LONGHAUL_KERNELS_H
#define LONGHAUL_KERNELS_H

#include "bench/measured.h"
#include "bench/statistics.h"
#include "engine/ceiling.h"
#include "engine/status.h"

/* One case and phase: "attention/L512H2d32/forward". */
typedef struct KernelRow {
    char name[128];
    char work[WORK_BYTES]; /* shapes, fillings, amount of work: the same name must mean the same */
    Cost cost;
    size_t bytes;      /* working set: what one replay touches */
    double floor;      /* seconds that the roof allows */
    const char *bound; /* what the roof is made of */
    int64_t replays;   /* in one sample */
    double *seconds;   /* samples, per replay */
    int count;
    double median;
    Interval interval; /* 95 %, of the median */
    char skipped[256]; /* why it was not measured; "" when it was */
} KernelRow;

/* Something about the run that a reader of the numbers must know; id is stable, advice says what to
 * do. */
typedef struct KernelWarning {
    const char *id;
    char text[256];
} KernelWarning;

enum { MAX_KERNEL_WARNINGS = 8 };

typedef struct KernelReport {
    Isa isa;
    int threads;
    Ceiling ceiling;
    double *probes; /* FLOP/s of a burst beside each round of samples */
    int probe_count;
    KernelRow *rows;
    int count;
    KernelWarning warnings[MAX_KERNEL_WARNINGS];
    int warning_count;
} KernelReport;

/* filter: part of a name; NULL for all. seconds: time to spend on each row. progress: a line of it
 * on standard error. STATUS_USAGE, with the nearest operation names, when nothing matches, or when
 * this processor lacks the instruction set. */
Status kernels_measure(KernelReport *report, const char *filter, Isa isa, int threads,
                       double seconds, bool progress, Error *error);
void kernels_free(KernelReport *report);

/* Fills report->warnings from what was measured. */
void kernels_warn(KernelReport *report);

/* FLOP/s (special functions count as one) and bytes/s at the median. */
double kernel_flops(const KernelRow *row);
double kernel_bandwidth(const KernelRow *row);

/* Share of the roof that was reached, 0 to 1 (a little above 1 when the ceiling was disturbed). */
double kernel_fraction(const KernelRow *row);

#endif
