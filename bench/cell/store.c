#include "bench/cell/store.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/cell/claim.h"
#include "bench/common/document.h"
#include "engine/file.h"
#include "engine/memory.h"

Status store_folder(char folder[PATH_MAX], const char *results, const char *suite, const Cell *cell,
                    Error *error) {
    char identity[17], name[PATH_MAX];
    cell_identity(cell, identity);
    const bool cpu = strcmp(cell->device, "cpu") == 0;
    snprintf(name, sizeof name, "%s/%s%s%s", suite, identity, cpu ? "" : "-",
             cpu ? "" : cell->device);
    return path_join(folder, results, name, error);
}

static bool has_file(const char *folder, const char *name) {
    char path[PATH_MAX];
    return path_join(path, folder, name, NULL) == STATUS_OK && file_exists(path);
}

CellState store_state(const char *folder) {
    if (has_file(folder, "result.json")) return CELL_DONE;
    if (claim_held(folder)) return CELL_RUNNING;
    return has_file(folder, "failure.json") ? CELL_FAILED : CELL_WAITING;
}

/* Plain where that is safe, else in single quotes, in which only the quote itself is special. */
static void write_scalar(FILE *out, const char *text) {
    static const char plain[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./+-";
    if (*text && text[0] != '-' && !text[strspn(text, plain)]) {
        fputs(text, out);
        return;
    }
    fputc('\'', out);
    for (; *text; text++) {
        if (*text == '\'') fputc('\'', out);
        fputc(*text, out);
    }
    fputc('\'', out);
}

Status store_write_config(const char *folder, const Cell *cell, const Settings *settings,
                          Error *error) {
    char path[PATH_MAX], *text = NULL;
    size_t bytes = 0;
    if (path_join(path, folder, "config.yaml", error) != STATUS_OK) return error->status;
    FILE *out = memory_stream(&text, &bytes);
    fprintf(out, "# longhaul train --config FILE runs this again\n");
    int count;
    CellValue *values = cell_values(cell, &count);
    for (int i = 0; i < count; i++) {
        const Setting *given = settings_find(settings, values[i].key);
        fprintf(out, "%s: {value: ", values[i].key);
        write_scalar(out, values[i].text);
        fputs(", source: ", out);
        write_scalar(out, given ? given->source : "default");
        fputs("}\n", out);
    }
    free(values);
    fclose(out);
    const Status status = file_write(path, text, bytes, error);
    free(text);
    return status;
}

Status store_write_failure(const char *folder, const Error *failure, Error *error) {
    char path[PATH_MAX];
    if (path_join(path, folder, "failure.json", error) != STATUS_OK) return error->status;
    json_t *object = json_object();
    json_object_set_new(object, "status", json_integer(failure->status));
    json_object_set_new(object, "message", json_string(failure->message));
    const Status status = document_write(path, object, error);
    json_decref(object);
    return status;
}

Status store_read_failure(const char *folder, Error *failure, Error *error) {
    char path[PATH_MAX];
    json_t *object;
    if (path_join(path, folder, "failure.json", error) != STATUS_OK) return error->status;
    const Status status = document_read(path, &object, error);
    if (status != STATUS_OK) return status;
    const char *message = json_string_value(json_object_get(object, "message"));
    failure->status = (Status)json_integer_value(json_object_get(object, "status"));
    snprintf(failure->message, sizeof failure->message, "%s", message ? message : "unknown");
    json_decref(object);
    return STATUS_OK;
}

Status store_forget(const char *folder, bool everything, Error *error) {
    static const char *const names[] = {"failure.json", "result.json", "checkpoint.json"};
    const int count = everything ? (int)(sizeof names / sizeof *names) : 1;
    for (int i = 0; i < count; i++) {
        char path[PATH_MAX];
        if (path_join(path, folder, names[i], error) != STATUS_OK) return error->status;
        if (unlink(path) != 0 && errno != ENOENT)
            return error_set(error, STATUS_IO, "removing %s: %s", path, strerror(errno));
    }
    return STATUS_OK;
}
