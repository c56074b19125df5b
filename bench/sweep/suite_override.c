/* What the command line says over a suite file. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/cli/command.h"
#include "bench/sweep/suite_file.h"

/* "1..5", a range of whole numbers of at most MOST_OF_RANGE. False: not written as one. */
enum { MOST_OF_RANGE = 1000 };
static bool parse_range(const char *text, long long *first, long long *last) {
    int end = 0;
    return sscanf(text, "%lld..%lld%n", first, last, &end) == 2 && !text[end];
}

static Status add_range(Axis *axis, const char *key, const char *word, const char *source,
                        Error *error) {
    long long first, last;
    if (!parse_range(word, &first, &last)) return axis_add(axis, key, word, source, error);
    if (last < first || last - first >= MOST_OF_RANGE)
        return error_set(error, STATUS_USAGE,
                         "%s: %s=%s: expected a range that rises, of at most %d numbers, such as "
                         "1..5",
                         source, key, word, MOST_OF_RANGE);
    Status status = STATUS_OK;
    for (long long i = first; i <= last && status == STATUS_OK; i++) {
        char number[24];
        snprintf(number, sizeof number, "%lld", i);
        status = axis_add(axis, key, number, source, error);
    }
    return status;
}

/* Several values: "a,b" or "1..5". */
static bool is_list(const char *text) {
    long long first, last;
    return strchr(text, ',') || parse_range(text, &first, &last);
}

/* "a,b,c", "1..5" or both, as alternatives of key, in place of what the axis had. */
static Status replace_axis(Axis *axis, const char *key, const char *values, const char *source,
                           Error *error) {
    axis_free(axis);
    char text[OPTION_TEXT_BYTES], *rest = text;
    snprintf(text, sizeof text, "%s", values);
    Status status = STATUS_OK;
    for (char *word; status == STATUS_OK && (word = strsep(&rest, ","));) {
        if (!*word)
            return error_set(error, STATUS_USAGE, "%s: %s=%s has an empty value in its list",
                             source, key, values);
        status = add_range(axis, key, word, source, error);
    }
    return status;
}

static Axis *find_axis(Axis *axes, int count, const char *key) {
    for (int i = 0; i < count; i++)
        if (axes[i].count > 0 && strcmp(axes[i].choices[0].list[0].key, key) == 0) return &axes[i];
    return NULL;
}

static bool begins_with_word(const char *text, size_t length, const char *word) {
    return strlen(word) == length && strncmp(text, word, length) == 0;
}

bool suite_names(const SuiteFile *file, int model, const char *key) {
    const SuiteModel *entry = &file->names[model];
    const char *dot = strchr(key, '.'), *architecture = file->models.choices[model].list[0].value;
    const size_t length = (size_t)(dot - key);
    if (begins_with_word(key, length, entry->name)) return true;
    return begins_with_word(key, length, architecture) && !settings_find(&entry->own, dot + 1);
}

/* "transformer.heads=4" is for that model alone. */
static Status override_model(SuiteFile *file, const Setting *setting, bool of_another,
                             Error *error) {
    const char *dot = strchr(setting->key, '.');
    Status status = STATUS_OK;
    bool taken = of_another;
    for (int i = 0; i < file->models.count && status == STATUS_OK; i++) {
        if (!suite_names(file, i, setting->key)) continue;
        taken = true;
        status =
            settings_add(&file->names[i].last, dot + 1, setting->value, setting->source, error);
    }
    if (status != STATUS_OK || taken) return status;
    return error_set(error, STATUS_USAGE,
                     "%s: %s=%s: no model '%.*s' among those selected, and no kind of it that does "
                     "not set %s itself",
                     setting->source, setting->key, setting->value, (int)(dot - setting->key),
                     setting->key, dot + 1);
}

static Status override(SuiteFile *file, const Setting *setting, bool of_another, Error *error) {
    const char *key = setting->key, *value = setting->value, *source = setting->source;
    if (strchr(key, '.')) return override_model(file, setting, of_another, error);
    if (strcmp(key, "seed") == 0) return replace_axis(&file->seeds, key, value, source, error);
    if (strcmp(key, "model") == 0)
        return error_set(error, STATUS_USAGE, "%s: models of a suite are chosen by --model",
                         source);
    Axis *axis = find_axis(file->tune, file->tune_count, key);
    if (!axis) axis = find_axis(file->grid, file->grid_count, key);
    if (!axis && is_list(value)) {
        if (file->grid_count == SUITE_KEYS)
            return error_set(error, STATUS_USAGE, "%s: more than %d keys vary", source, SUITE_KEYS);
        axis = &file->grid[file->grid_count++];
    }
    return axis ? replace_axis(axis, key, value, source, error)
                : settings_add(&file->last, key, value, source, error);
}

/* "3": the first three of the suite's seeds, continued by counting on; "1,5,7", "1..5": these. */
static Status override_seeds(SuiteFile *file, const char *text, Error *error) {
    char source[FLAG_SOURCE_BYTES];
    flag_source("seeds", text, source);
    if (is_list(text)) return replace_axis(&file->seeds, "seed", text, source, error);
    char *end;
    const long wanted = strtol(text, &end, 10);
    if (*end || wanted < 1 || wanted > 1000)
        return error_set(error, STATUS_USAGE,
                         "--seeds %s: expected how many (1 to 1000), or which, such as "
                         "1,2,7 or 1..5",
                         text);
    while (file->seeds.count > wanted) settings_free(&file->seeds.choices[--file->seeds.count]);
    while (file->seeds.count < wanted) {
        const Settings *last = &file->seeds.choices[file->seeds.count - 1];
        char next[24];
        /* What is no seed is refused with its cell. */
        snprintf(next, sizeof next, "%llu", strtoull(last->list[0].value, NULL, 10) + 1);
        const Status status = axis_add(&file->seeds, "seed", next, source, error);
        if (status != STATUS_OK) return status;
    }
    return STATUS_OK;
}

Status suite_file_override(SuiteFile *file, const SuiteRequest *request, Error *error) {
    Status status = STATUS_OK;
    if (request->seeds && *request->seeds) status = override_seeds(file, request->seeds, error);
    for (int i = 0; request->settings && i < request->settings->count && status == STATUS_OK; i++)
        status = override(file, &request->settings->list[i], request->of_another, error);
    if (status == STATUS_OK && request->budget && *request->budget) {
        char origin[FLAG_SOURCE_BYTES];
        flag_source("budget", request->budget, origin);
        status = settings_add(&file->last, "budget", request->budget, origin, error);
    }
    return status;
}
