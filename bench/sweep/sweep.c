#include "bench/sweep/sweep.h"

#include <errno.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/cell/environment.h"
#include "bench/cell/record.h"
#include "bench/cell/store.h"
#include "bench/common/terminal.h"
#include "bench/train/interrupt.h"
#include "engine/clock.h"
#include "engine/device.h"
#include "engine/file.h"
#include "engine/memory.h"

static const double look_seconds = 2; /* between two looks at cells that others work on */

static void fail_entry(Sweep *sweep, int index, const char *message) {
    Entry *entry = &sweep->entries[index];
    entry->state = ENTRY_FAILED;
    snprintf(entry->failure, sizeof entry->failure, "%s", message);
}

/* Takes the cell's result in. One that cannot be trusted counts as failed and is named. */
static void take_result(Sweep *sweep, int index) {
    Entry *entry = &sweep->entries[index];
    Record record;
    Error error = {0};
    if (record_read_of(&record, entry->folder, &sweep->suite->cells[index].cell, &error) !=
        STATUS_OK) {
        fail_entry(sweep, index, error.message);
        return;
    }
    const Result *result = &record.result;
    entry->state = ENTRY_DONE;
    entry->metric = result->test_metric;
    entry->outcome = result->outcome;
    entry->at_chance = result->at_chance && result->outcome != OUTCOME_DIVERGED;
    sweep->tried[index] = (Tried){true, result->best_validation_metric, result->flops};
    if (result->outcome == OUTCOME_DIVERGED) sweep->tried[index].validation = NAN;
    sweep_note_speed(sweep, sweep->suite->cells[index].name, result->flops, result->wall_seconds);
    record_close(&record);
}

static void take_failure(Sweep *sweep, int index) {
    Error failure = {0}, error = {0};
    const Status status = store_read_failure(sweep->entries[index].folder, &failure, &error);
    fail_entry(sweep, index, status == STATUS_OK ? failure.message : error.message);
}

/* What the folder says about a cell that this sweep is not running. */
static void look(Sweep *sweep, int index) {
    Entry *entry = &sweep->entries[index];
    const CellState state = store_state(entry->folder);
    entry->state = ENTRY_WAITING;
    if (state == CELL_RUNNING) {
        entry->state = ENTRY_ELSEWHERE;
        entry->again = false; /* whoever runs it makes it new */
    } else if (state == CELL_DONE && !entry->again) {
        take_result(sweep, index);
    } else if (state == CELL_FAILED && !entry->again) {
        take_failure(sweep, index);
    }
}

static Status open_entries(Sweep *sweep, Error *error) {
    const SweepOptions *options = sweep->options;
    for (int i = 0; i < sweep->suite->count; i++) {
        Entry *entry = &sweep->entries[i];
        const SuiteCell *cell = &sweep->suite->cells[i];
        const Status status =
            store_folder(entry->folder, options->results, sweep->suite->name, &cell->cell, error);
        if (status != STATUS_OK) return status;
        entry->again = options->force;
        if (!suite_in_shard(cell, &options->shard)) {
            entry->state = ENTRY_OTHER_SHARD;
            continue;
        }
        look(sweep, i);
        if (entry->state == ENTRY_FAILED && options->retry_failed) {
            entry->again = true;
            entry->state = ENTRY_WAITING;
        }
    }
    return STATUS_OK;
}

Status sweep_open(Sweep *sweep, Error *error) {
    const Suite *suite = sweep->suite;
    const SweepOptions *options = sweep->options;
    const int fitting = processors_usable() / options->threads;
    sweep->jobs = options->jobs > 0 ? options->jobs : fitting > 0 ? fitting : 1;
    sweep->terminal = terminal_rewrites(STDERR_FILENO);
    sweep->entries = memory_take_zeroed((size_t)suite->count, sizeof *sweep->entries);
    sweep->tried = memory_take_zeroed((size_t)suite->count, sizeof *sweep->tried);
    sweep->costs = memory_take_zeroed((size_t)suite->groups, sizeof *sweep->costs);
    sweep->speeds = memory_take_zeroed((size_t)suite->groups, sizeof *sweep->speeds);
    sweep->workers = memory_take_zeroed((size_t)sweep->jobs, sizeof *sweep->workers);
    sweep->cells_of = memory_take_zeroed((size_t)sweep->jobs, sizeof *sweep->cells_of);
    return open_entries(sweep, error);
}

void sweep_close(Sweep *sweep) {
    free(sweep->entries);
    free(sweep->tried);
    free(sweep->costs);
    free(sweep->speeds);
    free(sweep->workers);
    free(sweep->cells_of);
}

/* Memory of the cells that are running now. */
static int64_t bytes_running(const Sweep *sweep) {
    int64_t bytes = 0;
    for (int i = 0; i < sweep->jobs; i++)
        if (sweep->workers[i].pid != 0)
            bytes += sweep->costs[sweep->suite->cells[sweep->cells_of[i]].group].bytes;
    return bytes;
}

/* The longest cell that may start now: with the longest first, the processors finish together.
 * -1: none. Cells that tune come before others of their group by what sweep_wanted says. */
static int pick(Sweep *sweep) {
    const int64_t taken = bytes_running(sweep);
    int best = -1;
    double longest = -1;
    for (int i = 0; i < sweep->suite->count; i++) {
        bool undecided;
        if (sweep->entries[i].state != ENTRY_WAITING || !sweep_wanted(sweep, i, &undecided))
            continue;
        const GroupCost *cost = sweep_cost(sweep, i);
        if (taken > 0 && taken + cost->bytes > sweep->memory) continue;
        double seconds = sweep_cell_seconds(sweep, i);
        if (!isfinite(seconds)) seconds = cost->flops; /* the order is the same for one speed */
        if (seconds <= longest) continue;
        longest = seconds;
        best = i;
    }
    return best;
}

static Status start(Sweep *sweep, int slot, int index, Error *error) {
    const SweepOptions *options = sweep->options;
    const SuiteCell *cell = &sweep->suite->cells[index];
    Entry *entry = &sweep->entries[index];
    look(sweep, index); /* others may have been faster */
    if (entry->state != ENTRY_WAITING) return STATUS_OK;
    /* Pinning makes timings steady, but only where no process has to share a processor. */
    const bool fills = sweep->jobs * options->threads == processors_allowed();
    const WorkerTask task = {
        .folder = entry->folder,
        .results = options->results,
        .suite = sweep->suite->name,
        .device = options->device,
        .threads = options->threads,
        .first_processor = fills ? slot * options->threads : -1,
        .force = entry->again,
    };
    Status status = folder_make(entry->folder, error);
    if (status == STATUS_OK)
        status = store_write_config(entry->folder, &cell->cell, &cell->settings, error);
    if (status == STATUS_OK) status = worker_start(&sweep->workers[slot], &task, error);
    if (status != STATUS_OK) return status;
    sweep->cells_of[slot] = index;
    entry->state = ENTRY_RUNNING;
    return STATUS_OK;
}

/* A process that was killed could not say why it left no result. */
static void note_crash(Sweep *sweep, int index, Status status, int killed_by) {
    const Entry *entry = &sweep->entries[index];
    Error failure = {0};
    if (killed_by != 0)
        error_set(&failure, STATUS_IO, "killed by signal %d (%s)%s; see %s/messages.txt", killed_by,
                  strsignal(killed_by), killed_by == SIGKILL ? ", perhaps for lack of memory" : "",
                  entry->folder);
    else
        error_set(&failure, status, "ended with status %d and no result; see %s/messages.txt",
                  (int)status, entry->folder);
    store_write_failure(entry->folder, &failure, NULL);
}

/* A worker that was asked to leave before it could listen for that has nothing to save, and has not
 * failed. */
static bool left_early(int killed_by) {
    return interrupt_asked() && interrupt_is(killed_by);
}

static void finish(Sweep *sweep, int index, Status status, int killed_by) {
    Entry *entry = &sweep->entries[index];
    if (left_early(killed_by)) status = STATUS_INTERRUPTED;
    entry->again = false;
    look(sweep, index);
    if (entry->state == ENTRY_WAITING && status == STATUS_INTERRUPTED) {
        /* Asked to leave, or another process has the claim: looked at again later. */
        entry->state = ENTRY_ELSEWHERE;
        return;
    }
    if (entry->state == ENTRY_WAITING) {
        note_crash(sweep, index, status, killed_by);
        take_failure(sweep, index);
    }
    if (entry->state == ENTRY_DONE || entry->state == ENTRY_FAILED)
        sweep_show_finished(sweep, index);
}

static void look_elsewhere(Sweep *sweep) {
    const double now = seconds_now();
    if (now - sweep->last_look < look_seconds) return;
    sweep->last_look = now;
    for (int i = 0; i < sweep->suite->count; i++) {
        if (sweep->entries[i].state != ENTRY_ELSEWHERE) continue;
        look(sweep, i);
        if (sweep->entries[i].state == ENTRY_DONE || sweep->entries[i].state == ENTRY_FAILED)
            sweep_show_finished(sweep, i);
    }
}

static int count_state(const Sweep *sweep, EntryState state) {
    int count = 0;
    for (int i = 0; i < sweep->suite->count; i++) count += sweep->entries[i].state == state;
    return count;
}

/* Until a record arrives, or for a moment. */
static void wait_a_moment(const Sweep *sweep) {
    struct pollfd pipes[64];
    nfds_t count = 0;
    for (int i = 0; i < sweep->jobs && count < 64; i++)
        if (sweep->workers[i].pid != 0)
            pipes[count++] = (struct pollfd){.fd = sweep->workers[i].pipe, .events = POLLIN};
    if (poll(pipes, count, 200) > 0) usleep(20000); /* let records gather */
}

static Status fill_slots(Sweep *sweep, Error *error) {
    for (int slot = 0; slot < sweep->jobs; slot++) {
        int index = 0;
        while (sweep->workers[slot].pid == 0 && (index = pick(sweep)) >= 0) {
            const Status status = start(sweep, slot, index, error);
            if (status != STATUS_OK) return status;
        }
    }
    return STATUS_OK;
}

static void reap(Sweep *sweep) {
    for (int slot = 0; slot < sweep->jobs; slot++) {
        Worker *worker = &sweep->workers[slot];
        Status status;
        int killed_by;
        if (worker->pid == 0) continue;
        worker_listen(worker);
        if (worker_ended(worker, &status, &killed_by))
            finish(sweep, sweep->cells_of[slot], status, killed_by);
    }
}

static void stop_all(Sweep *sweep) {
    for (int slot = 0; slot < sweep->jobs; slot++) worker_stop(&sweep->workers[slot]);
    while (count_state(sweep, ENTRY_RUNNING) > 0) {
        reap(sweep);
        usleep(20000);
    }
}

static Status loop(Sweep *sweep, Error *error) {
    for (;;) {
        if (interrupt_asked()) {
            stop_all(sweep);
            return error_set(error, STATUS_INTERRUPTED,
                             "interrupted; every cell was saved, the same command continues");
        }
        const Status status = fill_slots(sweep, error);
        if (status != STATUS_OK) {
            stop_all(sweep);
            return status;
        }
        const int running = count_state(sweep, ENTRY_RUNNING);
        if (running == 0 && count_state(sweep, ENTRY_ELSEWHERE) == 0) return STATUS_OK;
        wait_a_moment(sweep);
        reap(sweep);
        look_elsewhere(sweep);
        sweep_show_progress(sweep);
    }
}

/* Data that are missing are said once and before anything runs, and no cell counts as failed. */
static Status check_data(const Sweep *sweep, Error *error) {
    const Cell *before = NULL;
    for (int i = 0; i < sweep->suite->count; i++) {
        const SuiteCell *cell = &sweep->suite->cells[i];
        const Task *task = cell->cell.task;
        void *data = NULL;
        if (sweep->entries[i].state != ENTRY_WAITING || !task->open) continue;
        if (before && before->task == task &&
            memcmp(before->task_options, cell->cell.task_options, task->options.bytes) == 0)
            continue;
        before = &cell->cell;
        if (task->open(cell->cell.task_options, &data, error) != STATUS_OK)
            return error_context(error, "nothing was started: cell %s", cell->label);
        if (data && task->close) task->close(data);
    }
    return STATUS_OK;
}

/* A device that is missing, likewise. */
static Status check_device(const Sweep *sweep, Error *error) {
    Device device;
    for (int i = 0; i < sweep->suite->count; i++) {
        if (sweep->entries[i].state != ENTRY_WAITING) continue;
        if (device_open(&device, sweep->options->device, error) != STATUS_OK)
            return error_context(error, "nothing was started");
        device_close(&device);
        return STATUS_OK;
    }
    return STATUS_OK;
}

/* Cells that wait for each other are slower than they would be alone, some more than others. */
static void warn_of_crowd(const Sweep *sweep) {
    const int wanted = sweep->jobs * sweep->options->threads, allowed = processors_allowed();
    if (sweep->options->quiet || wanted <= allowed || count_state(sweep, ENTRY_WAITING) == 0)
        return;
    fprintf(stderr,
            "warning [crowded]: %d cells at a time with %d thread%s on %d processor%s: their times "
            "cannot be compared\n",
            sweep->jobs, sweep->options->threads, sweep->options->threads == 1 ? "" : "s", allowed,
            allowed == 1 ? "" : "s");
}

Status sweep_run(const Suite *suite, const SweepOptions *options, Error *error) {
    Sweep sweep = {.suite = suite, .options = options};
    interrupt_install();
    Status status = sweep_open(&sweep, error);
    if (status == STATUS_OK) status = check_device(&sweep, error);
    if (status == STATUS_OK) status = check_data(&sweep, error);
    if (status == STATUS_OK) {
        warn_of_crowd(&sweep);
        status = loop(&sweep, error);
        sweep_clear_line(&sweep);
        sweep_show_summary(&sweep);
        if (status == STATUS_OK && count_state(&sweep, ENTRY_FAILED) > 0)
            status =
                error_set(error, STATUS_CELLS_FAILED,
                          "%d cells failed; longhaul sweep with --retry-failed runs them again",
                          count_state(&sweep, ENTRY_FAILED));
    }
    sweep_close(&sweep);
    return status;
}
