/* The gradient of an optimiser step as a sum of parts, whose order is a property of the cell and
 * not of the number of processes. A step's batch is cut into n contiguous parts (the setting
 * `replicas`), each with a gradient of its own. Their sum is that of the first half plus that of
 * the second, and so on while a number of parts is even; an odd number is added one after the
 * other.
 *
 * A process has n / R parts in a row. R is a power of two that divides n, or n itself, so a
 * process's parts are one half of a half ...: it adds them by itself, and the R sums by the same
 * rule with the others. With one part nothing happens at all. */
#ifndef LONGHAUL_PART_SUM_H
#define LONGHAUL_PART_SUM_H

#include <stdbool.h>

#include "bench/cell/team.h"

enum { PART_LEVELS = 32 };

typedef struct PartSum {
    const Team *team;
    int64_t own;                 /* parts of this process */
    int64_t size;                /* floats of a gradient, a multiple of TEAM_UNIT */
    int64_t done;                /* own parts of this step so far */
    float *waiting[PART_LEVELS]; /* sums that wait for their other half */
    int levels;
    int64_t *cuts;   /* process r adds elements cuts[r] .. cuts[r + 1] - 1 of all */
    float *received; /* those of each process */
} PartSum;

/* Whether so many processes can share the parts. */
bool part_sum_fits(int64_t parts, int processes);

/* Memory beside the gradient itself, in bytes. */
int64_t part_sum_bytes(int64_t parts, int processes, int64_t size);

/* STATUS_USAGE when memory is short. part_sum_close also after that. */
Status part_sum_open(PartSum *sum, int64_t parts, const Team *team, int64_t size, Error *error);
void part_sum_close(PartSum *sum);

/* The next own part's gradient has been added up in `gradient`, from zero. Afterwards it is zero
 * again, or, after the last, the sum of all own parts. */
void part_sum_add(PartSum *sum, float *gradient, int threads);

/* From the own parts' sum to that of all parts, the same on every process. */
void part_sum_finish(PartSum *sum, float *gradient, int threads);

#endif
