/* longhaul diff: what is different between two cells, settings first, then what came out. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "bench/cell/config.h"
#include "bench/cell/record.h"
#include "bench/cli/command.h"
#include "engine/file.h"

static bool ends_in(const char *text, const char *end) {
    const size_t length = strlen(text), tail = strlen(end);
    return length >= tail && strcmp(text + length - tail, end) == 0;
}

/* One side: a cell's folder, its result.json, or a configuration. */
typedef struct Side {
    Record record;
    bool finished; /* otherwise the record has settings only */
} Side;

/* Every setting of the cell that it describes, those included that it leaves at their defaults. */
static Status read_configuration(const char *path, Settings *settings, Error *error) {
    Settings given = {0};
    Cell cell = {0};
    Status status = config_read(path, &given, error);
    if (status == STATUS_OK) status = cell_build(&cell, &given, error);
    if (status == STATUS_OK) {
        int count;
        CellValue *values = cell_values(&cell, &count);
        for (int i = 0; i < count && status == STATUS_OK; i++)
            status = settings_add(settings, values[i].key, values[i].text, path, error);
        free(values);
        cell_close(&cell);
    }
    settings_free(&given);
    return status;
}

static Status open_side(Side *side, const char *name, Error *error) {
    struct stat facts;
    char path[PATH_MAX], config[PATH_MAX];
    *side = (Side){0};
    const bool folder = stat(name, &facts) == 0 && S_ISDIR(facts.st_mode);
    if (!folder && ends_in(name, ".yaml"))
        return read_configuration(name, &side->record.settings, error);
    if (folder && (path_join(path, name, "result.json", error) != STATUS_OK ||
                   path_join(config, name, "config.yaml", error) != STATUS_OK))
        return error->status;
    if (folder && !file_exists(path) && file_exists(config))
        return read_configuration(config, &side->record.settings, error);
    const Status status = record_read(&side->record, folder ? path : name, error);
    side->finished = status == STATUS_OK;
    return status;
}

static const char *text_or_dash(const char *text) {
    return text ? text : "-";
}

/* Keys of a, and then those that only b has. */
static int print_settings(const Record *a, const Record *b) {
    int different = 0;
    const Record *const both[] = {a, b};
    for (int side = 0; side < 2; side++)
        for (int i = 0; i < both[side]->settings.count; i++) {
            const char *key = both[side]->settings.list[i].key;
            const char *first = record_setting(a, key), *second = record_setting(b, key);
            if (side == 1 && first) continue;
            if (first && second && strcmp(first, second) == 0) continue;
            printf("%-22s %-20s %s\n", key, text_or_dash(first), text_or_dash(second));
            different++;
        }
    return different;
}

/* What else may be behind another number: program, machine and the task's own version. */
static void print_facts(const Record *a, const Record *b) {
    char versions[2][24];
    snprintf(versions[0], sizeof versions[0], "%d", a->task_version);
    snprintf(versions[1], sizeof versions[1], "%d", b->task_version);
    const struct {
        const char *name, *first, *second;
    } rows[] = {{"task version", versions[0], versions[1]},
                {"device", a->device, b->device},
                {"program", a->version, b->version},
                {"revision", a->revision, b->revision},
                {"processor", a->processor, b->processor}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (strcmp(rows[i].first, rows[i].second) != 0)
            printf("%-22s %-20s %s\n", rows[i].name, rows[i].first, rows[i].second);
    if (strcmp(a->task, b->task) == 0 && a->task_version != b->task_version)
        printf("%s: the versions have other samples or another metric; their numbers cannot be "
               "compared\n",
               a->task);
}

static void print_results(const Result *a, const Result *b) {
    const struct {
        const char *name;
        double first, second;
    } rows[] = {{"test metric", a->test_metric, b->test_metric},
                {"validation metric", a->validation_metric, b->validation_metric},
                {"test loss", a->test_loss, b->test_loss},
                {"parameters", (double)a->parameters, (double)b->parameters},
                {"steps", (double)a->steps, (double)b->steps},
                {"FLOP", a->flops, b->flops},
                {"training seconds", a->train_seconds, b->train_seconds},
                {"seconds a step", a->step_seconds_median, b->step_seconds_median},
                {"peak MiB", (double)a->peak_bytes / 1048576, (double)b->peak_bytes / 1048576}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        printf("%-22s %-20.6g %.6g\n", rows[i].name, rows[i].first, rows[i].second);
    printf("%-22s %-20s\n", "training data",
           a->data_hash == b->data_hash ? "the same" : "different");
}

static Status diff(const Invocation *invocation, Error *error) {
    Side a, b;
    Status status = open_side(&a, invocation->arguments[0], error);
    if (status != STATUS_OK) return status;
    status = open_side(&b, invocation->arguments[1], error);
    if (status == STATUS_OK) {
        if (print_settings(&a.record, &b.record) == 0) printf("no setting differs\n");
        if (a.finished && b.finished) {
            printf("\n");
            print_facts(&a.record, &b.record);
            print_results(&a.record.result, &b.record.result);
        }
        record_close(&b.record);
    }
    record_close(&a.record);
    return status;
}

const Command command_diff = {
    .name = "diff",
    .arguments = "RUN RUN",
    .summary = "settings that differ between two cells, and their results side by side",
    .detail = "RUN is the folder of a cell, its result.json, or a configuration (FILE.yaml). "
              "Results are\n"
              "shown where both have finished.",
    .flags = "",
    .least_arguments = 2,
    .most_arguments = 2,
    .run = diff,
};
