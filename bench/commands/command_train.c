/* longhaul train: one cell, from its settings to its result. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/cell/claim.h"
#include "bench/cell/environment.h"
#include "bench/cell/record.h"
#include "bench/cell/store.h"
#include "bench/cell/team.h"
#include "bench/cli/command.h"
#include "bench/commands/run_folder.h"
#include "bench/common/terminal.h"
#include "bench/train/interrupt.h"
#include "bench/train/progress.h"
#include "bench/train/second_look.h"
#include "bench/train/session.h"
#include "bench/train/train.h"
#include "engine/clock.h"
#include "engine/file.h"

/* A sweep that has not seen our claim yet may be writing the configuration, which takes moments. */
static const double leftover_seconds = 60;

/* Everything that one call works on. */
typedef struct Job {
    const Flags *flags;
    Settings settings;
    Cell cell;
    char folder[PATH_MAX];
    Team team; /* processes that a launcher started for this cell; the first one writes */
    SecondLook look;
    int64_t failed_step; /* of the device, or 0 */
    bool terminal;
    double last_line; /* when progress was last shown */
} Job;

/* Somebody who wrote several values for one expects what sweep does with them. */
static Status advise_sweep(const Settings *settings, Error *error) {
    for (int i = 0; i < settings->count; i++) {
        const char *value = settings->list[i].value;
        if ((!strchr(value, ',') && !strstr(value, "..")) || !strstr(error->message, value))
            continue;
        const size_t used = strlen(error->message);
        snprintf(error->message + used, sizeof error->message - used,
                 "; train runs one cell: longhaul sweep takes lists (docs/suites.md has a scan), "
                 "and decimals have a point");
        break;
    }
    return error->status;
}

static Status gather(Job *job, const Invocation *invocation, Error *error) {
    const Flags *flags = &invocation->flags;
    Status status = settings_from_file(&job->settings, flags, error);
    if (status == STATUS_OK)
        status = settings_add_all(&job->settings, &invocation->settings, error);
    char source[FLAG_SOURCE_BYTES];
    flag_source("budget", flags->budget, source);
    if (status == STATUS_OK && flags->budget[0])
        status = settings_add(&job->settings, "budget", flags->budget, source, error);
    if (status != STATUS_OK) return status;
    status = cell_build(&job->cell, &job->settings, error);
    return status == STATUS_USAGE ? advise_sweep(&invocation->settings, error) : status;
}

static void show_progress(void *context, double fraction, double metric, double seconds_left) {
    Job *job = context;
    const Progress progress = {fraction, metric, seconds_left};
    if (job->flags->report >= 0) {
        char line[PROGRESS_BYTES];
        const int length = progress_format(&progress, line);
        /* A sweep that has gone does not stop the cell; its result still counts. */
        if (write((int)job->flags->report, line, (size_t)length) < 0) return;
        return;
    }
    const double now = seconds_now();
    if (job->flags->quiet || now - job->last_line < (job->terminal ? 0.2 : 60)) return;
    job->last_line = now;
    char left[DURATION_BYTES], score[16] = "-"; /* before the first validation */
    duration_text(seconds_left, left);
    if (isfinite(metric)) snprintf(score, sizeof score, "%.4f", metric);
    char line[96];
    snprintf(line, sizeof line, "%5.1f %%  metric %s  %s left", 100 * fraction, score, left);
    if (job->terminal)
        terminal_status(line);
    else
        fprintf(stderr, "%s\n", line);
}

static bool asked_to_stop(void *context, int64_t steps) {
    const Job *job = context;
    return interrupt_asked() || (job->look.until && steps >= job->look.until);
}

static void print_result(const Job *job, const Result *result) {
    static const char *const outcomes[] = {[OUTCOME_FINISHED] = "finished",
                                           [OUTCOME_SOLVED] = "solved",
                                           [OUTCOME_DIVERGED] = "diverged",
                                           [OUTCOME_INTERRUPTED] = "interrupted"};
    char time[DURATION_BYTES];
    duration_text(result->train_seconds, time);
    printf("%s %s: %s, test %.4f, validation %.4f, %lld steps, %.3g FLOP, %s, %lld parameters%s\n",
           job->cell.task->name, job->cell.model->name, outcomes[result->outcome],
           result->test_metric, result->validation_metric, (long long)result->steps, result->flops,
           time, (long long)result->parameters, result->at_chance ? ", at chance" : "");
    if (result->failure[0]) printf("%s\n", result->failure);
    printf("%s/result.json\n", job->folder);
}

static bool leads(const Job *job) {
    return job->team.rank == 0;
}

/* More threads than processors; default bindings of launchers give a process one core. */
static void check_binding(const Job *job) {
    const int threads = flag_threads(job->flags), allowed = processors_allowed();
    if (job->flags->quiet || threads <= allowed) return;
    if (job->team.count == 1) {
        fprintf(stderr,
                "warning [threads]: %d threads share %d processor%s: the same numbers, but slower "
                "than with --threads %d\n",
                threads, allowed, allowed == 1 ? "" : "s", allowed);
        return;
    }
    fprintf(stderr,
            "longhaul: each process has %d threads and the launcher allows it %d processor%s; "
            "with Open MPI, mpirun --bind-to none or --map-by slot:PE=%d\n",
            threads, allowed, allowed == 1 ? "" : "s", threads);
}

static Status print_plan(const Job *job, Error *error) {
    CellPlan plan;
    const Status status = cell_plan(&job->cell, flag_threads(job->flags), &plan, error);
    if (status != STATUS_OK) return status;
    int count;
    CellValue *values = cell_values(&job->cell, &count);
    for (int i = 0; i < count; i++) {
        const Setting *given = settings_find(&job->settings, values[i].key);
        printf("%-22s %-14s %s\n", values[i].key, values[i].text,
               given ? given->source : "default");
    }
    free(values);
    printf("\nparameters             %lld (%lld of them embedding and head)\n"
           "state                  %lld numbers a sequence\n"
           "steps                  %lld of %.4g FLOP (executed: %.4g), %lld samples a replay\n"
           "total                  %.4g FLOP\nmemory                 %.1f MiB of %.1f MiB\n"
           "folder                 %s\n",
           (long long)plan.parameters, (long long)plan.embedding_parameters,
           (long long)plan.state_floats, (long long)plan.steps, plan.flops_per_step,
           plan.executed_flops_per_step, (long long)plan.micro_batch, plan.total_flops,
           (double)plan.bytes / 1048576, (double)plan.available_bytes / 1048576, job->folder);
    return STATUS_OK;
}

/* On every process of the team. */
static Status train(Job *job, Error *error) {
    const TrainOptions options = {
        .threads = flag_threads(job->flags),
        .team = &job->team,
        .folder = job->folder,
        .weights = job->flags->weights[0] ? job->flags->weights : NULL,
        .progress = leads(job) ? show_progress : NULL,
        .context = job,
        .stop = asked_to_stop,
    };
    Result result = {0};
    interrupt_install();
    Status status = cell_train(&job->cell, &options, &result, error);
    if (leads(job) && job->terminal && !job->flags->quiet) terminal_status("");
    job->failed_step = result.failed_step;
    if (status == STATUS_OK && result.outcome == OUTCOME_INTERRUPTED && job->look.until &&
        !interrupt_asked())
        status =
            error_set(error, STATUS_IO,
                      "%.800s; with every launch waited for it has not come again, and the cell "
                      "can go on from there",
                      job->look.first);
    if (status == STATUS_OK && result.outcome == OUTCOME_INTERRUPTED)
        status = error_set(error, STATUS_INTERRUPTED,
                           "interrupted after %lld steps and saved; the same command continues",
                           (long long)result.steps);
    if (status == STATUS_OK && leads(job)) {
        status = record_write(job->folder, &job->cell, &job->settings, &result, error);
        if (status == STATUS_OK) print_result(job, &result);
    }
    if (status == STATUS_OK && result.outcome == OUTCOME_DIVERGED) status = STATUS_NUMERIC;
    result_free(&result);
    return status;
}

/* On the first process of the team: the folder as training wants to find it. */
static Status make_ready(Job *job, Error *error) {
    check_binding(job);
    folder_clean(job->folder, "config.yaml", leftover_seconds);
    const bool everything = job->flags->force && !job->look.until;
    const Status status = store_forget(job->folder, everything, error);
    return status == STATUS_OK ? store_write_config(job->folder, &job->cell, &job->settings, error)
                               : status;
}

static Status print_finished(const Job *job, Error *error) {
    Record record;
    Status status = record_read_of(&record, job->folder, &job->cell, error);
    if (status != STATUS_OK) return status;
    print_result(job, &record.result);
    status = record.result.outcome == OUTCOME_DIVERGED ? STATUS_NUMERIC : STATUS_OK;
    record_close(&record);
    return status;
}

/* What the first process of the team finds in the folder, and tells the others. */
typedef enum Finding { FOUND_WORK, FOUND_RESULT } Finding;

/* On the first process of the team. *claim: to be released in the end. */
static Status look(Job *job, Claim **claim, Finding *finding, Error *error) {
    char holder[CLAIM_HOLDER_BYTES];
    Status status = folder_make(job->folder, error);
    if (status == STATUS_OK) status = claim_take(job->folder, claim, holder, error);
    if (status != STATUS_OK) return status;
    if (!*claim)
        return error_set(error, STATUS_INTERRUPTED, "%s is being worked on by %s; try again later",
                         job->folder, holder);
    const bool done = store_state(job->folder) == CELL_DONE && !job->flags->force;
    *finding = done ? FOUND_RESULT : FOUND_WORK;
    return done ? STATUS_OK : make_ready(job, error);
}

/* A run that cannot be made says so in its folder, so that a sweep need not try again; of several
 * processes it would say nothing about the cell. */
static Status run_in_folder(Job *job, Error *error) {
    Claim *claim = NULL;
    Finding finding = FOUND_WORK;
    Status status = leads(job) ? look(job, &claim, &finding, error) : STATUS_OK;
    status = team_agree(&job->team, status, error);
    finding = (Finding)team_largest(&job->team, finding);
    if (status == STATUS_OK && finding == FOUND_WORK) status = train(job, error);
    if (status == STATUS_OK && finding == FOUND_RESULT && leads(job))
        status = print_finished(job, error);
    status = team_agree(&job->team, status, error);
    const bool failed = status != STATUS_OK && status != STATUS_INTERRUPTED && error->message[0];
    if (claim && failed && job->team.count == 1 && finding == FOUND_WORK)
        store_write_failure(job->folder, error, NULL);
    claim_release(claim);
    return status;
}

static Status run(Job *job, const Invocation *invocation, Error *error) {
    Problem problem;
    Status status = gather(job, invocation, error);
    if (status == STATUS_OK) {
        snprintf(job->cell.device, sizeof job->cell.device, "%s", flag_device(job->flags));
        status = cell_validate(&job->cell, &problem, error);
        if (status == STATUS_OK)
            status = store_folder(job->folder, job->flags->results, job->flags->suite, &job->cell,
                                  error);
    }
    status = team_agree(&job->team, status, error);
    if (status == STATUS_OK && !job->flags->dry_run) status = run_in_folder(job, error);
    if (status == STATUS_OK && job->flags->dry_run && leads(job)) status = print_plan(job, error);
    return status;
}

static Status command(const Invocation *invocation, Error *error) {
    Job job = {.flags = &invocation->flags,
               .terminal = terminal_rewrites(STDERR_FILENO),
               .look = second_look_open()};
    Status status = team_open(&job.team, error);
    if (status != STATUS_OK) return status;
    status = run(&job, invocation, error);
    if (!leads(&job)) error->message[0] = '\0'; /* once is enough */
    team_close(&job.team);
    cell_close(&job.cell);
    settings_free(&job.settings);
    if (job.failed_step)
        second_look_begin(&job.look, job.failed_step, error, (int)job.flags->report);
    return status;
}

const Command command_train = {
    .name = "train",
    .arguments = "",
    .summary = "train and test one cell; run again, it continues or shows its result",
    .detail = "longhaul train task=mqar model=hyena width=64 length=128 pairs=8 lr=1e-3 seed=1 \\\n"
              "    budget=2e12flop --threads 2\n"
              "The result lands in RESULTS/SUITE/IDENTITY/result.json.\n"
              "Several processes can train one cell, with the same bits as one:\n"
              "mpirun -n 4 longhaul train replicas=4 ... (docs/parallel.md).",
    .flags = "budget config device dry-run force quiet report results suite threads weights",
    .takes_settings = true,
    .run = command,
};
