/* What runs have left: every file whole, unchanged, and of the same cell (docs/results.md). */
#include <dirent.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench/cell/config.h"
#include "bench/cell/record.h"
#include "bench/check/check.h"
#include "bench/train/checkpoint.h"
#include "engine/file.h"

/* One cell's folder. */
typedef struct Folder {
    const CheckOptions *options;
    CheckCount *count;
    const char *path, *name; /* name: the folder's own */
    char identity[17];       /* by config.yaml; "": not known */
    Record record;
    bool finished; /* record is there and whole */
} Folder;

static void report(const Folder *folder, bool good, const char *what, const char *detail) {
    char name[PATH_MAX];
    snprintf(name, sizeof name, "run/%s/%s", folder->name, what);
    check_report(folder->options, folder->count, good, name, "%s", detail);
}

static bool present(const Folder *folder, const char *file, char path[PATH_MAX]) {
    return path_join(path, folder->path, file, NULL) == STATUS_OK && file_exists(path);
}

/* To this version of the program: another one may count other settings. */
static void check_configuration(Folder *folder) {
    char path[PATH_MAX];
    Settings settings = {0};
    Cell cell = {0};
    Error error = {0};
    present(folder, "config.yaml", path);
    Status status = config_read(path, &settings, &error);
    if (status == STATUS_OK) status = cell_build(&cell, &settings, &error);
    if (status == STATUS_OK) {
        cell_identity(&cell, folder->identity);
        if (strncmp(folder->identity, folder->name, strlen(folder->identity)) != 0)
            status = error_set(&error, STATUS_DATA,
                               "config.yaml is cell %s; the folder was renamed, the file changed, "
                               "or another version of the program wrote it",
                               folder->identity);
        cell_close(&cell);
    }
    report(folder, status == STATUS_OK, "configuration",
           status == STATUS_OK ? "the folder's cell" : error.message);
    settings_free(&settings);
}

static void check_result(Folder *folder) {
    char path[PATH_MAX];
    Error error = {0};
    if (!present(folder, "result.json", path)) {
        folder->count->exempt++;
        return;
    }
    Status status = record_read(&folder->record, path, &error);
    folder->finished = status == STATUS_OK;
    if (folder->finished &&
        strncmp(folder->record.identity, folder->name, strlen(folder->record.identity)) != 0)
        status = error_set(&error, STATUS_DATA, "the result of cell %s", folder->record.identity);
    report(folder, status == STATUS_OK, "result",
           status == STATUS_OK ? "whole and of this cell" : error.message);
}

static bool same(double a, double b) {
    return a == b || (isnan(a) && isnan(b));
}

static bool same_point(const CurvePoint *a, const CurvePoint *b) {
    return a->step == b->step && same(a->flops, b->flops) && same(a->train_loss, b->train_loss) &&
           same(a->seconds, b->seconds) && same(a->tokens, b->tokens) &&
           same(a->validation_loss, b->validation_loss) &&
           same(a->validation_metric, b->validation_metric);
}

/* Each line is a point, steps rise, and the points are those of the result. */
static Status read_log(const Folder *folder, const char *path, Error *error) {
    char *text;
    size_t bytes;
    if (file_read(path, &text, &bytes, error) != STATUS_OK) return error->status;
    const Result *result = &folder->record.result;
    Status status = STATUS_OK;
    int line = 0;
    int64_t last = -1;
    for (const char *at = text, *end; status == STATUS_OK && *at; at = end + 1) {
        CurvePoint point;
        end = strchr(at, '\n');
        line++;
        if (!end || !point_parse(at, (size_t)(end - at), &point) || point.step <= last)
            status =
                error_set(error, STATUS_DATA,
                          "line %d is cut off, changed, out of order or of an older version", line);
        else if (folder->finished &&
                 (line > result->curve_count || !same_point(&point, &result->curve[line - 1])))
            status = error_set(error, STATUS_DATA, "line %d is not in result.json", line);
        last = point.step;
        if (!end) break;
    }
    if (status == STATUS_OK && folder->finished && line != result->curve_count)
        status = error_set(error, STATUS_DATA, "%d lines, %d validations in result.json", line,
                           result->curve_count);
    free(text);
    return status;
}

static void check_log(const Folder *folder) {
    char path[PATH_MAX];
    Error error = {0};
    if (!present(folder, "log.jsonl", path)) {
        folder->count->exempt++;
        return;
    }
    const bool good = read_log(folder, path, &error) == STATUS_OK;
    report(folder, good, "log", good ? "every line is a validation" : error.message);
}

static void check_checkpoint(const Folder *folder) {
    char path[PATH_MAX];
    CheckpointWeights weights;
    Error error = {0};
    if (!present(folder, "checkpoint.json", path)) {
        folder->count->exempt++;
        return;
    }
    Status status = checkpoint_weights(folder->path, &weights, &error);
    if (status == STATUS_OK && *folder->identity && strcmp(weights.identity, folder->identity) != 0)
        status = error_set(&error, STATUS_DATA, "of cell %s", weights.identity);
    if (status == STATUS_OK && folder->finished && weights.step != folder->record.result.steps)
        status = error_set(&error, STATUS_DATA, "after %lld steps, the result after %lld",
                           (long long)weights.step, (long long)folder->record.result.steps);
    report(folder, status == STATUS_OK, "checkpoint",
           status == STATUS_OK ? "the weights fit their checksum" : error.message);
}

static bool check_folder(const CheckOptions *options, const char *path, CheckCount *count) {
    char config[PATH_MAX], real[PATH_MAX];
    Folder folder = {.options = options, .count = count, .path = path};
    if (!present(&folder, "config.yaml", config) || !realpath(path, real)) return false;
    folder.name = strrchr(real, '/') + 1;
    check_configuration(&folder);
    check_result(&folder);
    check_log(&folder);
    check_checkpoint(&folder);
    if (folder.finished) record_close(&folder.record);
    return true;
}

Status check_runs(const CheckOptions *options, const char *path, CheckCount *count, Error *error) {
    struct dirent **entries;
    bool any = check_folder(options, path, count);
    const int found = any ? 0 : scandir(path, &entries, NULL, alphasort);
    for (int i = 0; i < found; i++) {
        char below[PATH_MAX];
        if (entries[i]->d_name[0] != '.' &&
            path_join(below, path, entries[i]->d_name, NULL) == STATUS_OK)
            any = check_folder(options, below, count) || any;
        free(entries[i]);
    }
    if (found > 0) free(entries);
    if (any) return STATUS_OK;
    return error_set(error, STATUS_DATA,
                     "%s has no cells; expected the folder of a cell, with a config.yaml, or that "
                     "of a suite",
                     path);
}
