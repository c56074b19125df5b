/* Kernel benchmark: every row of the case tables that is marked for it, forward and backward,
 * against the ceilings of the machine measured in the same run. All samples are kept. */
#ifndef LONGHAUL_KERNELS_H
#define LONGHAUL_KERNELS_H

#include "bench/check/trial.h"
#include "bench/common/statistics.h"
#include "bench/speed/measured.h"
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
    bool *held;        /* GPU: the sample was taken while its clock was held down */
    int count;
    double median;
    Interval interval; /* 95 %, of the median */
    char skipped[256]; /* why it was not measured; "" when it was */
} KernelRow;

/* Something about the run that a reader of the numbers must know; id is stable, advice says what to
 * do. */
typedef struct KernelWarning {
    const char *id;
    char text[288];
} KernelWarning;

enum { MAX_KERNEL_WARNINGS = 8, MOST_KERNEL_SAMPLES = 2000 };

/* Clocks of a GPU's multiprocessors beside the samples, MHz; all zero: the driver does not tell. */
typedef struct KernelClocks {
    double lowest, highest, possible;
    uint64_t held; /* every reason that held it down; see engine/gpu_clock.h */
} KernelClocks;

/* What to measure. */
typedef struct KernelRequest {
    const char *device; /* name */
    const char *filter; /* part of a case's name; NULL for all */
    Isa isa;            /* cpu */
    int threads;        /* cpu */
    Products products;  /* GPU: what matrix products round their inputs to */
    double seconds;     /* to spend on each row */
    bool progress;      /* a line of it on standard error */
} KernelRequest;

typedef struct KernelReport {
    Isa isa;
    int threads;
    char gpu[256]; /* the GPU in words; "": the processor was measured */
    Products products;
    KernelClocks clocks;
    Ceiling ceiling;
    double *probes; /* FLOP/s of a burst beside each round of samples */
    int probe_count;
    KernelRow *rows;
    int count;
    KernelWarning warnings[MAX_KERNEL_WARNINGS];
    int warning_count;
} KernelReport;

/* On the CPU the rows marked `benchmark`, on a GPU those marked `gpu`. STATUS_USAGE, with the
 * nearest operation names, when nothing matches, when this processor lacks the instruction set, or
 * when the device cannot be opened. Free in any case. */
Status kernels_measure(KernelReport *report, const KernelRequest *request, Error *error);
void kernels_free(KernelReport *report);

/* A row of the report and where it comes from. */
typedef struct KernelCase {
    const Op *op;
    const OpCase *row;
    Phase phase;
} KernelCase;

/* The GPU's half of kernels_measure (bench/speed/kernels_gpu.c): samples of all rows, and roof. */
Status kernels_measure_gpu(KernelReport *report, const KernelRequest *request,
                           const KernelCase *cases, Error *error);

/* Fills in cost, working set and the description of the work, once the case has been recorded. */
void kernel_describe(KernelRow *row, const KernelCase *kernel_case, const Trial *trial,
                     Products products);

/* Fills report->warnings from what was measured. */
void kernels_warn(KernelReport *report);

/* FLOP/s (special functions count as one) and bytes/s at the median. */
double kernel_flops(const KernelRow *row);
double kernel_bandwidth(const KernelRow *row);

/* Share of the roof that was reached, 0 to 1 (a little above 1 when the ceiling was disturbed). */
double kernel_fraction(const KernelRow *row);

#endif
