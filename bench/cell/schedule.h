/* Learning-rate schedules: which factor of the peak rate a step is given. They all rise from
 * zero over the warm-up, linearly or by a power; what follows is a ScheduleKind, of which
 * bench/cell/schedules.def lists one a line. docs/measuring.md has the equations and whose they
 * are. */
#ifndef LONGHAUL_SCHEDULE_H
#define LONGHAUL_SCHEDULE_H

#include "bench/cell/cell.h"

typedef struct Schedule Schedule;

typedef struct ScheduleKind {
    const char *name;
    const char *help;  /* what the rate does after the warm-up */
    const char *reads; /* which settings of those that not all schedules read: "lr_end restarts" */
    /* Refuses settings with which it could not work; NULL: there are none. */
    Status (*check)(const RunOptions *run, const Budget *warmup, Error *error);
    /* Factor of the peak rate after the warm-up. progress: share of the budget used, above the
     * warm-up's; rest: share used of what follows the warm-up, 0 to 1. */
    double (*factor)(const Schedule *schedule, double progress, double rest);
} ScheduleKind;

/* In the order of the choices of the option `schedule`. */
const ScheduleKind *schedule_kinds(int *count);

/* The schedule of one cell while it trains. Only validations change it, so a cell that continues
 * is as far as one that never stopped once schedule_observe was given the validations so far. */
struct Schedule {
    const ScheduleKind *kind;
    double warmup; /* share of the budget; above 1: training ends before the peak */
    double warmup_power;
    double end; /* lowest factor after the warm-up: lr_end, or lr_floor / lr */
    double restarts;
    double plateau_factor;
    int64_t plateau_patience;
    bool higher_is_better; /* the metric of schedule_observe */
    double best;           /* of that metric; the count of validations since; what was decided */
    int64_t waited, reductions;
};

/* Refuses settings that do not go together, or that the schedule would ignore (STATUS_USAGE). */
Status schedule_check(const RunOptions *run, Error *error);

/* run has passed schedule_check. warmup: share of the budget. */
Schedule schedule_open(const RunOptions *run, double warmup, bool higher_is_better);

/* Factor of the peak rate for a step at whose end `progress` of the budget is used, 0 to 1. */
double schedule_factor(const Schedule *schedule, double progress);

/* Takes note of a validation's metric. It is an improvement if it beats the best so far by more
 * than one part in 10,000. When more than plateau_patience of them in a row are none, the next step
 * and those after it have the reduced rate, and the count begins anew. */
void schedule_observe(Schedule *schedule, double metric);

#endif
