/* longhaul plan: a suite's cells, shown before they run. */
#include <stdio.h>
#include <string.h>

#include "bench/cell/record.h"
#include "bench/cell/store.h"
#include "bench/cli/command.h"
#include "bench/sweep/sweep.h"
#include "bench/train/progress.h"
#include "bench/train/session.h"

/* FLOPs and seconds of the finished cells of a model, and FLOPs that are to do. */
typedef struct Work {
    const char *name; /* the suite's */
    double done, seconds, left;
} Work;

enum { MOST_MODELS = 64 };

static Work *work_of(Work work[MOST_MODELS], const char *name) {
    int i = 0;
    while (i < MOST_MODELS - 1 && work[i].name && strcmp(work[i].name, name) != 0) i++;
    work[i].name = name;
    return &work[i];
}

static void add_finished(const char *folder, const Cell *cell, Work *work) {
    Record record;
    if (record_read_of(&record, folder, cell, NULL) != STATUS_OK) return;
    work->done += record.result.flops;
    work->seconds += record.result.wall_seconds;
    record_close(&record);
}

/* Seconds that the rest takes, one cell at a time, at the speed of each model's finished cells, or
 * of all where it has none; not-a-number while nothing has finished. */
static double seconds_left(const Work work[MOST_MODELS]) {
    double done = 0, seconds = 0, left = 0;
    for (int i = 0; i < MOST_MODELS; i++) {
        done += work[i].done;
        seconds += work[i].seconds;
    }
    for (int i = 0; i < MOST_MODELS; i++)
        left += work[i].left * (work[i].done > 0 ? work[i].seconds / work[i].done : seconds / done);
    return left;
}

static CellState state_of(const Suite *suite, const SuiteCell *cell, const char *results,
                          char folder[PATH_MAX]) {
    Error too_long = {0};
    const Status status = store_folder(folder, results, suite->name, &cell->cell, &too_long);
    return status == STATUS_OK ? store_state(folder) : CELL_WAITING;
}

/* A further seed runs with one of the tuned values: true when it has, with this one or another. */
static bool seed_is_done(const Suite *suite, const SuiteCell *cell, const char *results) {
    char folder[PATH_MAX];
    for (int i = 0; i < suite->count; i++) {
        const SuiteCell *other = &suite->cells[i];
        if (other->group == cell->group && other->repeat == cell->repeat &&
            state_of(suite, other, results, folder) == CELL_DONE)
            return true;
    }
    return false;
}

static void print_totals(const Suite *suite, const Shard *shard, int groups, int cells,
                         double flops) {
    printf("%s, preset %s: %s\n", suite->name, suite->preset, suite->note);
    if (shard->count > 1)
        printf("part %d of %d, %d of the %d cells: ", shard->number, shard->count, cells,
               suite_cells_in_the_end(suite));
    else
        printf("%d cells: ", cells);
    printf(
        "%d models and cases x (%d tuned values + %d more seeds of the selected one), %.4g FLOP\n",
        groups, suite->variants, suite->repeats - 1, flops);
}

Status sweep_plan(const Suite *suite, const Shard *shard, const Flags *flags, Error *error) {
    static const char *const states[] = {[CELL_WAITING] = "to do",
                                         [CELL_RUNNING] = "running",
                                         [CELL_DONE] = "done",
                                         [CELL_FAILED] = "failed"};
    double flops = 0;
    int groups = 0, cells = 0;
    Work work[MOST_MODELS] = {0};
    CellPlan plan = {0};
    printf("%-58s %10s %12s %8s %12s %10s %s\n", "cell", "parameters", "FLOP/step", "steps", "FLOP",
           "MiB", "state");
    for (int i = 0; i < suite->count; i++) {
        const SuiteCell *cell = &suite->cells[i];
        if (!suite_in_shard(cell, shard)) continue;
        const bool new_group = i == 0 || cell->group != suite->cells[i - 1].group;
        Error cannot = {0};
        if (new_group && cell_plan(&cell->cell, flag_threads(flags), &plan, &cannot) != STATUS_OK)
            return error_set(error, cannot.status, "cell %s: %s", cell->label, cannot.message);
        char folder[PATH_MAX];
        const CellState state = state_of(suite, cell, flags->results, folder);
        printf("%-58s %10lld %12.4g %8lld %12.4g %10.1f %s%s\n", cell->label,
               (long long)plan.parameters, plan.flops_per_step, (long long)plan.steps,
               plan.total_flops, (double)plan.bytes / 1048576, states[state],
               cell->repeat > 0 && suite->variants > 1 ? ", if selected" : "");
        const bool counts = cell->repeat == 0 || cell->variant == 0;
        groups += new_group;
        cells += counts;
        if (counts) flops += plan.total_flops;
        if (state == CELL_DONE)
            add_finished(folder, &cell->cell, work_of(work, cell->name));
        else if (counts && (cell->repeat == 0 || !seed_is_done(suite, cell, flags->results)))
            work_of(work, cell->name)->left += plan.total_flops;
    }
    print_totals(suite, shard, groups, cells, flops);
    if (*suite->named) printf("%s\n", suite->named);
    const double left = seconds_left(work);
    char text[DURATION_BYTES];
    duration_text(left, text);
    if (left > 0)
        printf("about %s left at the speed of the finished cells, one cell at a time\n", text);
    return STATUS_OK;
}

static Status plan(const Invocation *invocation, Error *error) {
    const SuiteRequest request = suite_request(invocation);
    Suite suite;
    Shard shard;
    Status status = sweep_shard(&invocation->flags, &shard, error);
    if (status == STATUS_OK) status = suite_open(&suite, &request, error);
    if (status != STATUS_OK) return status;
    status = sweep_plan(&suite, &shard, &invocation->flags, error);
    suite_close(&suite);
    return status;
}

const Command command_plan = {
    .name = "plan",
    .arguments = "SUITE|FILE",
    .summary = "what a sweep would run: cells, parameters, FLOPs, memory",
    .detail =
        "Once cells of the suite have finished, also how long the rest takes at their speed.\n"
        "--shard i/n shows what that part of a sweep would run.",
    .flags = "budget device model preset results seeds shard task threads",
    .least_arguments = 1,
    .most_arguments = 1,
    .takes_settings = true,
    .run = plan,
};
