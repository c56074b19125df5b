#include "bench/speed/measured.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "engine/file.h"
#include "engine/memory.h"

/* jansson's reading functions take no const. */
static json_t *writable(const json_t *json) {
    return (json_t *)(uintptr_t)json;
}

static bool read_case(const json_t *json, MeasuredCase *entry) {
    const char *name = NULL, *work = "";
    json_t *seconds = NULL;
    Cost *cost = &entry->cost;
    if (json_unpack(writable(json), "{s:s, s:o, s?:s, s:F, s:F, s:F, s:F}", "case", &name,
                    "seconds", &seconds, "work", &work, "flops", &cost->flops, "specials",
                    &cost->specials, "bytes_read", &cost->bytes_read, "bytes_written",
                    &cost->bytes_written) ||
        !json_is_array(seconds))
        return false;
    snprintf(entry->name, sizeof entry->name, "%s", name);
    snprintf(entry->work, sizeof entry->work, "%s", work);
    const int count = (int)json_array_size(seconds);
    entry->seconds = memory_take(((size_t)count + 1) * sizeof(double));
    for (int i = 0; i < count; i++) {
        entry->seconds[i] = json_number_value(json_array_get(seconds, (size_t)i));
        if (!(entry->seconds[i] > 0)) return false;
    }
    entry->count = count;
    return true;
}

static Status read_all(MeasuredFile *file, const json_t *json, Error *error) {
    int schema = 0;
    const char *kind = "", *machine = NULL;
    json_t *rows = NULL;
    if (json_unpack(writable(json), "{s:i, s:s, s:s, s:i, s:o}", "schema", &schema, "kind", &kind,
                    "machine", &machine, "threads", &file->threads, "rows", &rows) ||
        !json_is_array(rows))
        return error_set(error, STATUS_DATA,
                         "%s: this is not a file of measured times; make one with `longhaul "
                         "kernels --output FILE` or `longhaul speed --output FILE`",
                         file->path);
    if (schema != MEASURED_SCHEMA)
        return error_set(error, STATUS_DATA,
                         "%s: schema %d, this program reads %d; measure again with this version",
                         file->path, schema, MEASURED_SCHEMA);
    snprintf(file->kind, sizeof file->kind, "%s", kind);
    snprintf(file->machine, sizeof file->machine, "%s", machine);
    const char *compiler, *flags;
    if (!json_unpack(writable(json), "{s:{s:s, s:s}}", "environment", "compiler", &compiler,
                     "compiler_flags", &flags))
        snprintf(file->build, sizeof file->build, "%s, %s", compiler, flags);
    file->cases = memory_take_zeroed(json_array_size(rows) + 1, sizeof *file->cases);
    for (size_t i = 0; i < json_array_size(rows); i++)
        if (!read_case(json_array_get(rows, i), &file->cases[file->count++]))
            return error_set(error, STATUS_DATA,
                             "%s: row %zu has no name, no cost or no valid times; measure again "
                             "with this version",
                             file->path, i + 1);
    return STATUS_OK;
}

Status measured_read(MeasuredFile *file, const char *path, Error *error) {
    *file = (MeasuredFile){0};
    snprintf(file->path, sizeof file->path, "%s", path);
    char *text;
    size_t bytes;
    if (file_read(path, &text, &bytes, error) != STATUS_OK) return error->status;
    json_error_t problem;
    json_t *json = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, &problem);
    free(text);
    if (!json)
        return error_set(error, STATUS_DATA,
                         "%s:%d: not JSON (%s): half-written or not a file of measured times", path,
                         problem.line, problem.text);
    const Status status = read_all(file, json, error);
    json_decref(json);
    return status;
}

void measured_close(MeasuredFile *file) {
    for (int i = 0; i < file->count; i++) free(file->cases[i].seconds);
    free(file->cases);
    *file = (MeasuredFile){0};
}

const MeasuredCase *measured_find(const MeasuredFile *file, const char *name) {
    for (int i = 0; i < file->count; i++)
        if (strcmp(file->cases[i].name, name) == 0 && file->cases[i].count) return &file->cases[i];
    return NULL;
}

bool measured_same_work(const MeasuredCase *a, const MeasuredCase *b) {
    const double x[] = {a->cost.flops, a->cost.specials, a->cost.bytes_read, a->cost.bytes_written};
    const double y[] = {b->cost.flops, b->cost.specials, b->cost.bytes_read, b->cost.bytes_written};
    for (int i = 0; i < 4; i++)
        if (x[i] > y[i] || x[i] < y[i]) return false;
    return !a->work[0] || !b->work[0] || strcmp(a->work, b->work) == 0;
}
