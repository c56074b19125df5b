#include "tasks/pathfinder_files.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "engine/file.h"
#include "tasks/png_file.h"

static int compare_batches(const struct dirent **a, const struct dirent **b) {
    const long x = strtol((*a)->d_name, NULL, 10), y = strtol((*b)->d_name, NULL, 10);
    return (x > y) - (x < y);
}

static int is_metadata(const struct dirent *entry) {
    char *end;
    strtol(entry->d_name, &end, 10);
    return end != entry->d_name && strcmp(end, ".npy") == 0;
}

/* One line: folder, file name, number, label, then parameters. */
static Status read_line(const char *folder, const char *metadata, int number, const char *line,
                        int size, Records *records, Error *error) {
    char batch[256], name[256];
    int label = -1;
    if (sscanf(line, "%255s %255s %*s %d", batch, name, &label) != 3 || label < 0 || label > 1)
        return error_set(error, STATUS_DATA,
                         "%s line %d: expected 'imgs/BATCH sample_K.png K LABEL ...' with label 0 "
                         "or 1; found '%.60s'",
                         metadata, number, line);
    char path[PATH_MAX];
    if (snprintf(path, sizeof path, "%s/%s/%s", folder, batch, name) >= (int)sizeof path)
        return error_set(error, STATUS_DATA, "%s line %d: path too long", metadata, number);
    struct stat facts;
    if (stat(path, &facts) == 0 && facts.st_size == 0) return STATUS_OK;
    char *bytes;
    size_t count;
    if (file_read(path, &bytes, &count, error) != STATUS_OK)
        return error_context(error, "%s line %d", metadata, number);
    if (png_check((uint8_t *)bytes, count, size, size, error) == STATUS_OK)
        records_add(records, (uint8_t *)bytes, (int64_t)count, label);
    else
        error_context(error, "%s", path);
    free(bytes);
    return error && error->status != STATUS_OK ? error->status : STATUS_OK;
}

static Status read_batch(const char *folder, const char *metadata, int size, Records *records,
                         Error *error) {
    char *text, *line;
    size_t count;
    if (file_read(metadata, &text, &count, error) != STATUS_OK) return error->status;
    char *rest = text;
    Status status = STATUS_OK;
    for (int number = 1; status == STATUS_OK && (line = strsep(&rest, "\n")); number++)
        if (*line) status = read_line(folder, metadata, number, line, size, records, error);
    free(text);
    return status;
}

Status pathfinder_read(const char *folder, int size, Records *records, Error *error) {
    char where[PATH_MAX];
    struct dirent **batches;
    if (path_join(where, folder, "metadata", error) != STATUS_OK) return error->status;
    const int count = scandir(where, &batches, is_metadata, compare_batches);
    if (count < 0) return error_set(error, STATUS_DATA, "%s: %s", where, strerror(errno));
    Status status = STATUS_OK;
    for (int i = 0; i < count; i++) {
        char metadata[PATH_MAX];
        if (status == STATUS_OK) status = path_join(metadata, where, batches[i]->d_name, error);
        if (status == STATUS_OK) status = read_batch(folder, metadata, size, records, error);
        free(batches[i]);
    }
    free(batches);
    int64_t connected = 0;
    for (int64_t i = 0; i < records->count; i++) connected += records->classes[i];
    if (status == STATUS_OK && (connected == 0 || connected == records->count))
        status = error_set(error, STATUS_DATA,
                           "%s: %lld images, %lld of them connected; expected both kinds, listed "
                           "in *.npy",
                           where, (long long)records->count, (long long)connected);
    return status;
}
