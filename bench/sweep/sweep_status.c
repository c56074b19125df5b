/* What the folders say of a sweep, without running anything. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/cell/claim.h"
#include "bench/cell/store.h"
#include "bench/sweep/sweep.h"
#include "engine/file.h"
#include "engine/memory.h"

typedef enum Kind {
    KIND_DONE,
    KIND_RUNNING,
    KIND_LEFT,  /* its process has gone without a word: the next sweep goes on with it */
    KIND_BEGUN, /* interrupted, with a checkpoint */
    KIND_MISSING,
    KIND_FAILED,
    KINDS
} Kind;

static const struct {
    const char *name, *meaning;
} kinds[KINDS] = {
    [KIND_DONE] = {"done", ""},
    [KIND_RUNNING] = {"running", ""},
    [KIND_LEFT] = {"stale", "claimed by a process that has gone; a sweep takes them over"},
    [KIND_BEGUN] = {"begun", "interrupted and saved; a sweep continues them"},
    [KIND_MISSING] = {"missing", "not begun"},
    [KIND_FAILED] = {"failed", ""},
};

static bool has(const char *folder, const char *name) {
    char path[PATH_MAX];
    return path_join(path, folder, name, NULL) == STATUS_OK && file_exists(path);
}

/* KINDS: the cell is not to run, because another tuned value was selected. */
static Kind kind_of(const Sweep *sweep, int index) {
    const Entry *entry = &sweep->entries[index];
    bool undecided;
    if (!sweep_wanted(sweep, index, &undecided) &&
        !(undecided && sweep->suite->cells[index].variant == 0))
        return KINDS;
    if (entry->state == ENTRY_DONE) return KIND_DONE;
    if (entry->state == ENTRY_FAILED) return KIND_FAILED;
    if (entry->state == ENTRY_ELSEWHERE) return KIND_RUNNING;
    if (has(entry->folder, "claim")) return KIND_LEFT;
    return has(entry->folder, "checkpoint.json") ? KIND_BEGUN : KIND_MISSING;
}

/* Failures for one reason: the same message, numbers aside. */
typedef struct Reason {
    char pattern[1024];
    const Entry *first;
    const char *label;
    int count;
} Reason;

/* Steps, losses and identities differ between cells that failed alike. */
static void take_out_numbers(const char *message, char *pattern) {
    for (; *message; message++)
        if (!strchr("0123456789abcdef.", *message)) *pattern++ = *message;
    *pattern = '\0';
}

static Reason *find_reasons(const Sweep *sweep, const Kind *kind, int *count) {
    Reason *reasons = memory_take_zeroed((size_t)sweep->suite->count + 1, sizeof *reasons);
    *count = 0;
    for (int i = 0; i < sweep->suite->count; i++) {
        char pattern[sizeof reasons->pattern];
        if (kind[i] != KIND_FAILED) continue;
        take_out_numbers(sweep->entries[i].failure, pattern);
        int at = 0;
        while (at < *count && strcmp(reasons[at].pattern, pattern) != 0) at++;
        Reason *reason = &reasons[at];
        if (at == *count) {
            (*count)++;
            memcpy(reason->pattern, pattern, sizeof pattern);
            reason->first = &sweep->entries[i];
            reason->label = sweep->suite->cells[i].label;
        }
        reason->count++;
    }
    return reasons;
}

/* Who works on the running cells: one line each. */
static json_t *list_running(const Sweep *sweep, const Kind *kind) {
    json_t *list = json_array();
    for (int i = 0; i < sweep->suite->count; i++) {
        char holder[CLAIM_HOLDER_BYTES];
        if (kind[i] != KIND_RUNNING) continue;
        claim_holder(sweep->entries[i].folder, holder);
        json_array_append_new(
            list, json_pack("{s:s, s:s}", "cell", sweep->suite->cells[i].label, "by", holder));
    }
    return list;
}

static json_t *list_failed(const Sweep *sweep, const Kind *kind) {
    int count;
    json_t *list = json_array();
    Reason *reasons = find_reasons(sweep, kind, &count);
    for (int i = 0; i < count; i++)
        json_array_append_new(list,
                              json_pack("{s:i, s:s, s:s, s:s}", "cells", reasons[i].count, "first",
                                        reasons[i].label, "folder", reasons[i].first->folder,
                                        "message", reasons[i].first->failure));
    free(reasons);
    return list;
}

/* Cells that have failed run again only when asked to. */
static json_t *rest_command(const char *command, int failed) {
    return json_pack("s+", command, failed > 0 ? " --retry-failed" : "");
}

static json_t *describe(Sweep *sweep, const char *command) {
    const Suite *suite = sweep->suite;
    Kind *kind = memory_take((size_t)suite->count * sizeof *kind);
    int counts[KINDS + 1] = {0}, diverged = 0;
    for (int i = 0; i < suite->count; i++) {
        kind[i] = kind_of(sweep, i);
        counts[kind[i]]++;
        diverged += kind[i] == KIND_DONE && sweep->entries[i].outcome == OUTCOME_DIVERGED;
        if (kind[i] != KINDS && kind[i] != KIND_DONE) sweep_cost(sweep, i);
    }
    const double left = sweep_seconds_left(sweep);
    json_t *object = json_pack("{s:i, s:s, s:s, s:i}", "schema", 1, "suite", suite->name, "preset",
                               suite->preset, "cells", suite->count - counts[KINDS]);
    for (int i = 0; i < KINDS; i++)
        json_object_set_new(object, kinds[i].name, json_integer(counts[i]));
    json_object_set_new(object, "diverged", json_integer(diverged));
    json_object_set_new(object, "running_cells", list_running(sweep, kind));
    json_object_set_new(object, "failures", list_failed(sweep, kind));
    json_object_set_new(object, "seconds_left", isfinite(left) ? json_real(left) : json_null());
    json_object_set_new(object, "jobs", json_integer(sweep->jobs));
    const bool over = counts[KIND_DONE] == suite->count - counts[KINDS];
    json_object_set_new(object, "command",
                        over ? json_null() : rest_command(command, counts[KIND_FAILED]));
    free(kind);
    return object;
}

static void print_text(const json_t *object, FILE *out) {
    const json_t *list;
    json_t *item;
    size_t i;
    fprintf(out, "%s, preset %s: %lld of %lld cells done",
            json_string_value(json_object_get(object, "suite")),
            json_string_value(json_object_get(object, "preset")),
            (long long)json_integer_value(json_object_get(object, "done")),
            (long long)json_integer_value(json_object_get(object, "cells")));
    const json_int_t diverged = json_integer_value(json_object_get(object, "diverged"));
    if (diverged > 0) fprintf(out, ", %lld of them diverged", (long long)diverged);
    fputc('\n', out);
    for (int k = KIND_RUNNING; k < KINDS; k++) {
        const json_int_t count = json_integer_value(json_object_get(object, kinds[k].name));
        if (count > 0)
            fprintf(out, "%-8s %5lld%s%s\n", kinds[k].name, (long long)count,
                    *kinds[k].meaning ? "  " : "", kinds[k].meaning);
        list = json_object_get(object, k == KIND_RUNNING  ? "running_cells"
                                       : k == KIND_FAILED ? "failures"
                                                          : "");
        json_array_foreach(list, i, item) {
            if (k == KIND_RUNNING)
                fprintf(out, "  %s (%s)\n", json_string_value(json_object_get(item, "cell")),
                        json_string_value(json_object_get(item, "by")));
            else
                fprintf(out, "  %lld x %s\n    first %s, %s\n",
                        (long long)json_integer_value(json_object_get(item, "cells")),
                        json_string_value(json_object_get(item, "message")),
                        json_string_value(json_object_get(item, "first")),
                        json_string_value(json_object_get(item, "folder")));
        }
    }
    const char *command = json_string_value(json_object_get(object, "command"));
    if (!command) return;
    char left[DURATION_BYTES];
    const json_t *seconds = json_object_get(object, "seconds_left");
    const long long jobs = (long long)json_integer_value(json_object_get(object, "jobs"));
    duration_text(json_number_value(seconds), left);
    if (json_is_number(seconds))
        fprintf(out, "about %s left at the speed of the finished cells, %lld at a time\n", left,
                jobs);
    fprintf(out, "the rest: %s\n", command);
}

Status sweep_status(const Suite *suite, const SweepOptions *options, const char *command, bool json,
                    FILE *out, Error *error) {
    Sweep sweep = {.suite = suite, .options = options};
    const Status status = sweep_open(&sweep, error);
    if (status == STATUS_OK) {
        json_t *object = describe(&sweep, command);
        if (json) {
            json_dumpf(object, out, JSON_INDENT(1));
            fputc('\n', out);
        } else {
            print_text(object, out);
        }
        json_decref(object);
    }
    sweep_close(&sweep);
    return status;
}
