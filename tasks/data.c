#include "tasks/data.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/file.h"

const char *data_folder(void) {
    const char *folder = getenv("LONGHAUL_DATA");
    return folder && *folder ? folder : "data";
}

Status data_find(const DataPlace *place, char path[PATH_MAX], Error *error) {
    char tried[512] = "";
    size_t used = 0;
    for (const char *const *relative = place->relative; *relative; relative++) {
        if (path_join(path, data_folder(), *relative, error) != STATUS_OK) return error->status;
        if (file_exists(path)) return STATUS_OK;
        const int written =
            snprintf(tried + used, sizeof tried - used, "%s%s", used > 0 ? ", " : "", *relative);
        if (written > 0) used += (size_t)written;
        if (used >= sizeof tried) used = sizeof tried - 1;
    }
    return error_set(error, STATUS_DATA,
                     "%s is not in the data folder %s (looked for %s). %s; set LONGHAUL_DATA to "
                     "the folder that holds it",
                     place->title, data_folder(), tried, place->advice);
}

_Noreturn void data_damaged(const Error *error) {
    fprintf(stderr, "longhaul: %s\n", error->message);
    exit(STATUS_DATA);
}

static void *grow(void *memory, int64_t items, size_t size) {
    void *grown = realloc(memory, (size_t)items * size);
    if (!grown) {
        fprintf(stderr, "longhaul: no memory for a data set (%lld bytes)\n",
                (long long)items * (long long)size);
        abort();
    }
    return grown;
}

void records_add(Records *records, const uint8_t *bytes, int64_t length, int32_t class_id) {
    if (records->count == records->capacity) {
        records->capacity = records->capacity > 0 ? 2 * records->capacity : 1024;
        records->starts = grow(records->starts, records->capacity + 1, sizeof *records->starts);
        records->classes = grow(records->classes, records->capacity, sizeof *records->classes);
        records->starts[0] = 0;
    }
    if (records->used + length > records->room) {
        records->room = 2 * (records->used + length);
        records->bytes = grow(records->bytes, records->room, 1);
    }
    if (length > 0) memcpy(records->bytes + records->used, bytes, (size_t)length);
    records->used += length;
    records->classes[records->count++] = class_id;
    records->starts[records->count] = records->used;
}

void records_free(Records *records) {
    free(records->bytes);
    free(records->starts);
    free(records->classes);
    *records = (Records){0};
}
