/* Runs the cells of a suite, each in a process of its own, several at a time. */
#ifndef LONGHAUL_SWEEP_H
#define LONGHAUL_SWEEP_H

#include <stdio.h>

#include "bench/cell/result.h"
#include "bench/cli/command.h"
#include "bench/sweep/suite.h"
#include "bench/sweep/worker.h"

typedef struct SweepOptions {
    const char *results, *device;
    int jobs;    /* 0: one for each group of `threads` usable processors */
    int threads; /* of one cell */
    bool retry_failed, force, quiet;
    Shard shard;
} SweepOptions;

typedef enum EntryState {
    ENTRY_WAITING,
    ENTRY_RUNNING,
    ENTRY_ELSEWHERE, /* claimed by another process */
    ENTRY_DONE,
    ENTRY_FAILED,
    ENTRY_OTHER_SHARD
} EntryState;

/* What the sweep knows of a cell of the suite. */
typedef struct Entry {
    EntryState state;
    bool again;    /* --force or --retry-failed: what is there does not count */
    double metric; /* test metric of a finished cell */
    Outcome outcome;
    bool at_chance;
    char folder[PATH_MAX];
    char failure[1024];
} Entry;

/* Cost of the cells of one group: they differ in nothing that has to do with it. */
typedef struct GroupCost {
    bool known;
    double flops;   /* that the budget buys; 0 when only time can tell */
    double seconds; /* of a time budget; 0 for others */
    int64_t bytes;
} GroupCost;

/* Measured speed of a model of the suite, for what is still to come. */
typedef struct ModelSpeed {
    const char *name; /* the suite's */
    double flops, seconds;
} ModelSpeed;

typedef struct Sweep {
    const Suite *suite;
    const SweepOptions *options;
    Entry *entries;     /* one for each cell */
    Tried *tried;       /* the same, as the selection wants them */
    GroupCost *costs;   /* one for each group */
    ModelSpeed *speeds; /* of the models of the suite */
    int speed_count;
    Worker *workers;
    int *cells_of; /* cell of each worker */
    int jobs;
    int64_t memory; /* bytes that cells may take together */
    bool terminal;
    double last_line, last_look; /* progress shown, other claims looked at */
} Sweep;

/* STATUS_OK when every cell has a result, STATUS_CELLS_FAILED, STATUS_DATA and STATUS_USAGE (data
 * or device that are missing; nothing was started), STATUS_INTERRUPTED (all saved; running it again
 * continues), STATUS_IO. */
Status sweep_run(const Suite *suite, const SweepOptions *options, Error *error);

/* What the folders say of every cell; starts nothing. To be closed after an error, too. */
Status sweep_open(Sweep *sweep, Error *error);
void sweep_close(Sweep *sweep);

/* What the flags say: a part of the whole, by --shard or by the variables of a Slurm job array
 * (STATUS_USAGE), and the rest. bench/commands/command_sweep.c. */
Status sweep_shard(const Flags *flags, Shard *shard, Error *error);
SweepOptions sweep_options(const Flags *flags, const Shard *shard);

/* Shows on standard output what would run. bench/commands/command_plan.c. */
Status sweep_plan(const Suite *suite, const Shard *shard, const Flags *flags, Error *error);

/* The suite in parts, as a script for the engine, with so many jobs of it at a time (0: as the
 * engine has room); command: the words of the sweep, without jobs, threads and shard. Nothing is
 * submitted. bench/sweep/sweep_script.c. */
Status sweep_script(const Suite *suite, const SweepOptions *options, FlagScript engine,
                    const char *command, FILE *out, Error *error);

/* bench/sweep/sweep_status.c: counts of done, running, stale, begun, missing and failed cells, the
 * latter by reason, the time left, and the command that runs the rest; as text or as JSON. */
Status sweep_status(const Suite *suite, const SweepOptions *options, const char *command, bool json,
                    FILE *out, Error *error);

/* bench/sweep/sweep_estimate.c. Seconds for all of a cell, and for what is left of the whole sweep;
 * NAN before anything is known. */
double sweep_cell_seconds(const Sweep *sweep, int cell);
double sweep_seconds_left(const Sweep *sweep);
void sweep_note_speed(Sweep *sweep, const char *name, double flops, double seconds);
/* Plans the group of the cell if that has not been done. */
const GroupCost *sweep_cost(Sweep *sweep, int cell);
/* Whether the cell is to run: it tunes, or its variant was selected. undecided: may still be. */
bool sweep_wanted(const Sweep *sweep, int cell, bool *undecided);

/* bench/sweep/sweep_show.c: what a person sees, on standard error; the summary on its output. */
void sweep_show_finished(Sweep *sweep, int cell);
void sweep_show_progress(Sweep *sweep);
void sweep_show_summary(const Sweep *sweep);
void sweep_clear_line(const Sweep *sweep);

#endif
