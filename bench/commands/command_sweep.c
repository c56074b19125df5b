/* longhaul sweep: a suite's cells, several at a time. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/cell/launch.h"
#include "bench/cli/cli.h"
#include "bench/sweep/sweep.h"
#include "engine/memory.h"

SuiteRequest suite_request(const Invocation *invocation) {
    const Flags *flags = &invocation->flags;
    return (SuiteRequest){
        .suite = invocation->arguments[0],
        .preset = flags->preset,
        .models = flags->model,
        .tasks = flags->task,
        .seeds = flags->seeds,
        .budget = flags->budget,
        .device = flag_device(flags),
        .settings = &invocation->settings,
    };
}

/* The digits that the text begins with; *end: what follows. -1 for none, or more than nine. */
static int whole_number(const char *text, const char **end) {
    const size_t digits = strspn(text, "0123456789");
    *end = text + digits;
    return digits >= 1 && digits <= 9 ? atoi(text) : -1;
}

/* The same of a variable; `absent` without it, and -1 when something else is in it. */
static int variable_number(const char *name, int absent) {
    const char *text = getenv(name), *end;
    if (!text) return absent;
    const int number = whole_number(text, &end);
    return *end ? -1 : number;
}

/* "2/8"; without it, the variables of a Slurm job array; else 1 of 1. */
Status sweep_shard(const Flags *flags, Shard *shard, Error *error) {
    const char *end = "";
    *shard = (Shard){1, 1};
    if (flags->shard[0]) {
        shard->number = whole_number(flags->shard, &end);
        shard->count = *end == '/' ? whole_number(end + 1, &end) : -1;
    } else if (getenv("SLURM_ARRAY_TASK_ID") && getenv("SLURM_ARRAY_TASK_COUNT")) {
        const int id = variable_number("SLURM_ARRAY_TASK_ID", -1);
        const int first = variable_number("SLURM_ARRAY_TASK_MIN", 0);
        shard->number = id < 0 || first < 0 ? -1 : id - first + 1;
        shard->count = variable_number("SLURM_ARRAY_TASK_COUNT", -1);
    }
    if (!*end && shard->number >= 1 && shard->number <= shard->count) return STATUS_OK;
    return error_set(error, STATUS_USAGE, "--shard %s: expected part/parts, such as 1/4",
                     flags->shard[0] ? flags->shard : "(from the Slurm array)");
}

SweepOptions sweep_options(const Flags *flags, const Shard *shard) {
    return (SweepOptions){
        .results = flags->results,
        .device = flag_device(flags),
        .jobs = flags->jobs == 0 && flags->device != DEVICE_CPU ? 1 : (int)flags->jobs,
        .threads = flag_threads(flags),
        .retry_failed = flags->retry_failed,
        .force = flags->force,
        .quiet = flags->quiet,
        .shard = *shard,
    };
}

/* A sweep is one process that starts others, one a cell. With a shard of its own it may have been
 * started by a launcher, of which its cells need not know. */
static Status check_launch(const Flags *flags, Error *error) {
    if (!flags->shard[0])
        return launch_refuse("sweep",
                             "start one sweep on each machine, with --shard i/n if you like, or "
                             "one large cell with mpirun longhaul train",
                             error);
    launch_leave();
    return STATUS_OK;
}

static Status print_script(const Invocation *invocation, const Suite *suite,
                           const SweepOptions *options, Error *error) {
    const Flags *flags = &invocation->flags;
    if (flags->shard[0])
        return error_set(error, STATUS_USAGE, "--script makes the parts itself; leave out --shard");
    SweepOptions parts = *options;
    parts.jobs = (int)flags->jobs; /* 0: the engine's machines may be other ones than this */
    char *command = NULL;
    size_t bytes;
    FILE *text = memory_stream(&command, &bytes);
    cli_write(invocation, invocation->command, "dry-run jobs quiet script threads", text);
    fclose(text);
    const Status status =
        sweep_script(suite, &parts, (FlagScript)flags->script, command, stdout, error);
    free(command);
    return status;
}

static Status sweep(const Invocation *invocation, Error *error) {
    const Flags *flags = &invocation->flags;
    const SuiteRequest request = suite_request(invocation);
    Shard shard;
    Suite suite;
    Status status = sweep_shard(flags, &shard, error);
    if (status == STATUS_OK) status = check_launch(flags, error);
    if (status == STATUS_OK) status = suite_open(&suite, &request, error);
    if (status != STATUS_OK) return status;
    const SweepOptions options = sweep_options(flags, &shard);
    if (flags->script != SCRIPT_NONE)
        status = print_script(invocation, &suite, &options, error);
    else
        status = flags->dry_run ? sweep_plan(&suite, &shard, flags, error)
                                : sweep_run(&suite, &options, error);
    suite_close(&suite);
    return status;
}

const Command command_sweep = {
    .name = "sweep",
    .arguments = "SUITE|FILE",
    .summary = "run the cells of a suite, several at a time; again, it continues",
    .detail = "key=value sets a key in every cell; MODEL.key=value in those of one model; a\n"
              "list key=a,b or key=1..5 replaces what the suite varies.\n"
              "Each architecture tries every tuned value with the first seed; the best one on\n"
              "validation then runs with the other seeds. Several sweeps, also on several\n"
              "machines, may work on one results folder.",
    .flags = "budget device dry-run force jobs model preset quiet results retry-failed script "
             "seeds shard task threads",
    .least_arguments = 1,
    .most_arguments = 1,
    .takes_settings = true,
    .run = sweep,
};
