/* What a sweep still has to do, in seconds: FLOPs left over the measured speed of each model. */
#include <math.h>
#include <string.h>

#include "bench/sweep/sweep.h"
#include "bench/train/session.h"
#include "engine/clock.h"

static ModelSpeed *speed_of(const Sweep *sweep, const char *name) {
    for (int i = 0; i < sweep->speed_count; i++)
        if (!strcmp(sweep->speeds[i].name, name)) return &sweep->speeds[i];
    return NULL;
}

void sweep_note_speed(Sweep *sweep, const char *name, double flops, double seconds) {
    ModelSpeed *speed = speed_of(sweep, name);
    if (!speed) {
        speed = &sweep->speeds[sweep->speed_count++];
        *speed = (ModelSpeed){.name = name};
    }
    speed->flops += flops;
    speed->seconds += seconds;
}

/* FLOP/s of the model; of all models while it has not run; NAN while nothing has. */
static double rate_of(const Sweep *sweep, const char *name) {
    const ModelSpeed *own = speed_of(sweep, name);
    if (own && own->seconds > 0) return own->flops / own->seconds;
    double flops = 0, seconds = 0;
    for (int i = 0; i < sweep->speed_count; i++) {
        flops += sweep->speeds[i].flops;
        seconds += sweep->speeds[i].seconds;
    }
    for (int i = 0; i < sweep->jobs; i++) { /* the ones in work, as far as they say */
        const Worker *worker = &sweep->workers[i];
        const double seconds_in_work = seconds_now() - worker->started;
        /* The first moments are mostly the start of a process. */
        if (worker->pid == 0 || !(worker->progress.fraction > 0) || seconds_in_work < 1) continue;
        const int group = sweep->suite->cells[sweep->cells_of[i]].group;
        flops += worker->progress.fraction * sweep->costs[group].flops;
        seconds += seconds_in_work;
    }
    return seconds > 0 && flops > 0 ? flops / seconds : NAN;
}

const GroupCost *sweep_cost(Sweep *sweep, int index) {
    const SuiteCell *cell = &sweep->suite->cells[index];
    GroupCost *cost = &sweep->costs[cell->group];
    if (cost->known) return cost;
    cost->known = true;
    CellPlan plan;
    Budget budget;
    Error cannot = {0};
    /* A cell that cannot be planned says why when it is started; here it just weighs nothing. */
    if (cell_plan(&cell->cell, sweep->options->threads, &plan, &cannot) == STATUS_OK) {
        cost->bytes = plan.bytes;
        cost->flops = plan.steps >= 0 ? plan.total_flops : 0;
        if (sweep->memory == 0) sweep->memory = plan.available_bytes;
    }
    if (budget_parse(cell->cell.run.budget, &budget, &cannot) == STATUS_OK &&
        budget.unit == BUDGET_SECOND)
        cost->seconds = budget.amount;
    return cost;
}

double sweep_cell_seconds(const Sweep *sweep, int index) {
    const SuiteCell *cell = &sweep->suite->cells[index];
    const GroupCost *cost = &sweep->costs[cell->group];
    return cost->seconds > 0 ? cost->seconds : cost->flops / rate_of(sweep, cell->name);
}

bool sweep_wanted(const Sweep *sweep, int index, bool *undecided) {
    const SuiteCell *cell = &sweep->suite->cells[index];
    *undecided = false;
    if (sweep->entries[index].state == ENTRY_OTHER_SHARD) return false;
    /* One variant leaves nothing to select: all seeds may start at once. */
    if (cell->repeat == 0 || sweep->suite->variants == 1) return true;
    int first, end;
    suite_group(sweep->suite, cell->group, &first, &end);
    for (int i = first; i < end && !*undecided; i++) {
        const EntryState state = sweep->entries[i].state;
        *undecided =
            sweep->suite->cells[i].repeat == 0 && state != ENTRY_DONE && state != ENTRY_FAILED;
    }
    if (*undecided) return false;
    return suite_select(sweep->suite, cell->group, sweep->tried) == cell->variant;
}

double sweep_seconds_left(const Sweep *sweep) {
    double sum = 0;
    for (int i = 0; i < sweep->suite->count; i++) {
        const EntryState state = sweep->entries[i].state;
        if (state == ENTRY_DONE || state == ENTRY_FAILED || state == ENTRY_RUNNING) continue;
        bool undecided;
        /* Of the repeats that are not decided yet, those of one variant will run. */
        if (sweep_wanted(sweep, i, &undecided) ||
            (undecided && sweep->suite->cells[i].variant == 0))
            sum += sweep_cell_seconds(sweep, i);
    }
    for (int i = 0; i < sweep->jobs; i++) {
        const Worker *worker = &sweep->workers[i];
        if (worker->pid == 0) continue;
        const double said = worker->progress.seconds_left;
        sum += isfinite(said) ? said
                              : (1 - worker->progress.fraction) *
                                    sweep_cell_seconds(sweep, sweep->cells_of[i]);
    }
    return sum / sweep->jobs;
}
