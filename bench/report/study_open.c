/* A study from the results of a suite that are on disk. */
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "bench/cell/store.h"
#include "bench/report/study.h"
#include "engine/file.h"
#include "engine/memory.h"

_Static_assert(sizeof((Record *)0)->name == sizeof((SuiteCell *)0)->name, "one name");

/* Reads the cell's result if it has one. A failed cell is counted. */
static Status read_cell(Study *study, const Suite *suite, const SuiteCell *cell,
                        const char *results, int *damaged, Error *error) {
    char folder[PATH_MAX];
    if (store_folder(folder, results, suite->name, &cell->cell, error) != STATUS_OK)
        return error->status;
    const CellState state = store_state(folder);
    if (state == CELL_FAILED && study->failed++ == 0) {
        Error failure = {0};
        store_read_failure(folder, &failure, NULL);
        snprintf(study->failure, sizeof study->failure, "%.96s: %.150s", cell->label,
                 failure.message);
    }
    if (state != CELL_DONE) return STATUS_OK;
    Error wrong = {0};
    Record *record = &study->records[study->count];
    if (record_read_of(record, folder, &cell->cell, &wrong) == STATUS_OK) {
        memcpy(record->name, cell->name, sizeof record->name);
        study->count++;
        return STATUS_OK;
    }
    fprintf(stderr, "left out: %s\n", wrong.message);
    (*damaged)++;
    return STATUS_OK;
}

/* The meaning of the metric, from the first result. */
static void describe(Study *study) {
    const Record *first = &study->records[0];
    snprintf(study->task, sizeof study->task, "%.47s", first->task);
    snprintf(study->metric, sizeof study->metric, "%s", first->metric);
    study->task_version = first->task_version;
    study->higher_is_better = first->higher_is_better;
    study->chance = first->chance;
    study->solved = first->solved;
}

Status study_open(Study *study, const Suite *suite, const char *results, int *damaged,
                  Error *error) {
    *study = (Study){.planned = suite_cells_in_the_end(suite)};
    *damaged = 0;
    snprintf(study->suite, sizeof study->suite, "%s", suite->name);
    snprintf(study->preset, sizeof study->preset, "%.15s", suite->preset);
    memcpy(study->named, suite->named, sizeof study->named);
    for (int i = 0; i < suite->axis_count && study->axis_count < STUDY_KEYS; i++)
        snprintf(study->axes[study->axis_count++], STUDY_VALUE, "%s", suite->axes[i]);
    for (int i = 0; i < suite->tuned_count && study->tuned_count < STUDY_KEYS; i++)
        snprintf(study->tuned[study->tuned_count++], STUDY_VALUE, "%s", suite->tuned[i]);
    study->records = memory_take_zeroed((size_t)suite->count + 1, sizeof *study->records);
    for (int i = 0; i < suite->count; i++) {
        if (read_cell(study, suite, &suite->cells[i], results, damaged, error) != STATUS_OK)
            return error->status;
    }
    if (study->count == 0) {
        return error_set(error, STATUS_DATA,
                         "%s/%s: none of the %d cells of suite %s, preset %s, has a result; "
                         "longhaul sweep %s runs them (with the same flags and settings)",
                         results, suite->name, suite->count, suite->name, suite->preset,
                         suite->name);
    }
    describe(study);
    return STATUS_OK;
}
