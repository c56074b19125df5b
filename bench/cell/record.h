/* result.json: what a finished cell leaves behind, and reading it back. It appears complete or not
 * at all, carries the SHA-256 of its own content, and is never used unless that fits. */
#ifndef LONGHAUL_RECORD_H
#define LONGHAUL_RECORD_H

#include "bench/cell/cell.h"
#include "bench/cell/result.h"

/* One result file, read back. Owns everything. */
typedef struct Record {
    char *path;
    char identity[17], model[64], task[64], device[16];
    int task_version;
    char version[32], revision[64], processor[128], finished[32]; /* of program and machine; "" */
    char name[64];     /* of the model in the suite that is read; "": the architecture's */
    Settings settings; /* every setting, sorted by key, each with its source */
    char metric[32];   /* of the task: "accuracy" */
    bool higher_is_better;
    double chance, solved; /* metric of guessing, and from which on it is solved; NAN: none */
    double best;           /* best possible metric; NAN: not known */
    Result result;
} Record;

/* Writes result.json into the folder. settings: what was set, with sources; the rest counts as
 * default. STATUS_IO. */
Status record_write(const char *folder, const Cell *cell, const Settings *settings,
                    const Result *result, Error *error);

/* Errors: STATUS_DATA for a missing, truncated, changed or other-schema file, named. */
Status record_read(Record *record, const char *path, Error *error);
/* The result.json in a cell's folder. STATUS_DATA, too, when it is the result of another cell: a
 * copy that was put there by hand must not count as this one. */
Status record_read_of(Record *record, const char *folder, const Cell *cell, Error *error);
void record_close(Record *record);

/* Text of a setting of the record, NULL if it has none of that key. */
const char *record_setting(const Record *record, const char *key);

#endif
