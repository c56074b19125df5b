/* longhaul diff: what is different between two cells, settings first, then what came out. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "bench/command.h"
#include "bench/result.h"
#include "engine/file.h"

/* A cell's folder or its result.json. */
static Status open_record(Record *record, const char *name, Error *error) {
    struct stat facts;
    char path[PATH_MAX];
    if (stat(name, &facts) != 0 || !S_ISDIR(facts.st_mode)) return record_read(record, name, error);
    const Status status = path_join(path, name, "result.json", error);
    return status == STATUS_OK ? record_read(record, path, error) : status;
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
    Record a, b;
    Status status = open_record(&a, invocation->arguments[0], error);
    if (status != STATUS_OK) return status;
    status = open_record(&b, invocation->arguments[1], error);
    if (status == STATUS_OK) {
        if (print_settings(&a, &b) == 0) printf("no setting differs\n");
        printf("\n");
        print_facts(&a, &b);
        print_results(&a.result, &b.result);
        record_close(&b);
    }
    record_close(&a);
    return status;
}

const Command command_diff = {
    .name = "diff",
    .arguments = "RUN RUN",
    .summary = "settings that differ between two cells, and their results side by side",
    .detail = "RUN is the folder of a finished cell or its result.json.",
    .flags = "",
    .least_arguments = 2,
    .most_arguments = 2,
    .run = diff,
};
