#include "bench/data/data_verify.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/file.h"
#include "tasks/data.h"
#include "tasks/digest.h"
#include "tasks/sampling.h"
#include "tasks/task.h"

/* "HEX  NAME": as sha256sum writes it. */
static Status check_line(const char *folder, const char *list, int number, char *line,
                         Error *error) {
    char path[PATH_MAX], expected[DIGEST_BYTES];
    const size_t digits = strspn(line, "0123456789abcdef");
    if (digits != 64 || line[64] != ' ' || strlen(line) < 67)
        return error_set(error, STATUS_DATA,
                         "%s line %d: expected 64 hexadecimal digits, two blanks and a file name",
                         list, number);
    if (path_join(path, folder, line + 66, error) != STATUS_OK) return error->status;
    snprintf(expected, sizeof expected, "sha256:%.64s", line);
    if (digest_check(path, expected, error) == STATUS_OK) return STATUS_OK;
    return error_context(error, "%s line %d", list, number);
}

static Status check_list(const char *folder, const char *list, DataReport *report, Error *error) {
    char *text, *line;
    size_t bytes;
    if (file_read(list, &text, &bytes, error) != STATUS_OK) return error->status;
    Status status = STATUS_OK;
    char *rest = text;
    for (int number = 1; status == STATUS_OK && (line = strsep(&rest, "\n")); number++) {
        if (!*line) continue;
        status = check_line(folder, list, number, line, error);
        report->checked++;
    }
    free(text);
    return status;
}

/* One file against its published checksum. *listed: a list vouches for what lies here. */
static Status check_file(const DataSet *set, const DataFile *file, bool listed, DataReport *report,
                         int *found, Error *error) {
    char path[PATH_MAX], digest[DIGEST_BYTES];
    const DataKind kind = file->folder ? DATA_FOLDER : DATA_FILE;
    if (!data_glimpse(set->name, file->path, kind, path)) {
        if (!report->missing[0])
            snprintf(report->missing, sizeof report->missing, "%s", file->path);
        return STATUS_OK;
    }
    Error where = {0};
    const Status status = data_find(set->name, file->path, kind, path, &where);
    if (status != STATUS_OK) return error_set(error, status, "%s", where.message);
    (*found)++;
    if (!file->digest) return STATUS_OK;
    if (digest_content(path, file->digest, digest, error) != STATUS_OK) return error->status;
    if (strcmp(digest, file->digest) == 0) {
        report->checked++;
        return STATUS_OK;
    }
    report->state = DATA_PART;
    if (listed) return STATUS_OK;
    return error_set(error, STATUS_DATA,
                     "%s: wrong checksum %s, expected %s; fetch it again, or, where it is a part "
                     "kept on purpose, list it in a file SHA256SUMS beside it",
                     path, digest, file->digest);
}

/* Opens the data through the task and counts. */
static Status ask_task(const DataSet *set, DataReport *report, Error *error) {
    const Task *task = task_find(set->task);
    void *options = scratch_open(task->options.bytes), *data = NULL;
    option_defaults(&task->options, options);
    char copy[256], *rest = copy;
    snprintf(copy, sizeof copy, "%s", set->settings);
    Status status = STATUS_OK;
    for (char *word; status == STATUS_OK && (word = strtok_r(rest, " ", &rest));) {
        char *value = strchr(word, '=');
        *value++ = '\0';
        status = option_set(&task->options, options, word, value, error);
    }
    Problem problem;
    if (status == STATUS_OK) status = task->problem(options, &problem, error);
    if (status == STATUS_OK) status = task->open(options, &data, error);
    for (int split = 0; split < 3 && status == STATUS_OK; split++)
        report->counts[split] = task->count(options, data, (Split)split);
    if (data && task->close) task->close(data);
    free(options);
    return status;
}

Status data_verify(const DataSet *set, DataReport *report, Error *error) {
    char folder[PATH_MAX], list[PATH_MAX];
    *report = (DataReport){0};
    if (path_join(folder, data_folder(), set->folders[0], error) != STATUS_OK ||
        path_join(list, folder, "SHA256SUMS", error) != STATUS_OK)
        return error->status;
    const bool listed = file_exists(list);
    if (listed && check_list(folder, list, report, error) != STATUS_OK) return error->status;
    int found = 0, published = 0;
    report->state = DATA_OFFICIAL;
    for (int i = 0; i < DATA_FILES && set->files[i].path; i++) {
        published += set->files[i].digest != NULL;
        if (check_file(set, &set->files[i], listed, report, &found, error) != STATUS_OK)
            return error->status;
    }
    if (published == 0) report->state = listed ? DATA_PART : DATA_UNCHECKED;
    if (found == 0) {
        char path[PATH_MAX];
        return data_find(set->name, set->files[0].path,
                         set->files[0].folder ? DATA_FOLDER : DATA_FILE, path, error);
    }
    return report->missing[0] ? STATUS_OK : ask_task(set, report, error);
}
