/* result.json: what a finished cell leaves behind, and reading it back. It appears complete or not
 * at all, carries the SHA-256 of its own content, and is never used unless that fits. */
#ifndef LONGHAUL_RESULT_H
#define LONGHAUL_RESULT_H

#include "bench/cell.h"
#include "bench/command.h"
#include "bench/train.h"

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
Status result_write(const char *folder, const Cell *cell, const Settings *settings,
                    const Result *result, Error *error);

/* Errors: STATUS_DATA for a missing, truncated, changed or other-schema file, named. */
Status record_read(Record *record, const char *path, Error *error);
/* The result.json in a cell's folder. STATUS_DATA, too, when it is the result of another cell: a
 * copy that was put there by hand must not count as this one. */
Status record_read_of(Record *record, const char *folder, const Cell *cell, Error *error);
void record_close(Record *record);

/* Text of a setting of the record, NULL if it has none of that key. */
const char *record_setting(const Record *record, const char *key);

/* A point of the curve as a JSON object on one line, and back (false: not one). Owned by the
 * caller. */
char *point_text(const CurvePoint *point);
bool point_parse(const char *text, size_t bytes, CurvePoint *point);

/* The measured part alone, for checkpoints. Not-a-number is null in JSON, an
 * infinity a string. */
struct json_t *result_to_json(const Result *result);
/* False when a field is missing or of the wrong type; *result then owns nothing. */
bool result_from_json(const struct json_t *json, Result *result, char *field, size_t field_bytes);

#endif
