/* Where results live: one folder a cell, RESULTS/SUITE/IDENTITY, holding config.yaml, log.jsonl,
 * the checkpoint, and in the end result.json, or failure.json when the cell could not be run. */
#ifndef LONGHAUL_STORE_H
#define LONGHAUL_STORE_H

#include <limits.h>

#include "bench/cell/cell.h"

typedef enum CellState {
    CELL_WAITING, /* nothing there, or a checkpoint to continue from */
    CELL_RUNNING, /* claimed by a live process, here or elsewhere */
    CELL_DONE,    /* result.json is there */
    CELL_FAILED   /* failure.json is there */
} CellState;

/* The cell's folder; cells of another device than the CPU have one of their own. Not made yet. */
Status store_folder(char folder[PATH_MAX], const char *results, const char *suite, const Cell *cell,
                    Error *error);

CellState store_state(const char *folder);

/* config.yaml: every setting with its source, which config_read takes back. STATUS_IO. */
Status store_write_config(const char *folder, const Cell *cell, const Settings *settings,
                          Error *error);

/* Why the cell has no result; removed by the next attempt. */
Status store_write_failure(const char *folder, const Error *failure, Error *error);
Status store_read_failure(const char *folder, Error *failure, Error *error);

/* Removes the failure, and if everything is set also result and checkpoint: the cell runs again
 * from its start. STATUS_IO. */
Status store_forget(const char *folder, bool everything, Error *error);

#endif
