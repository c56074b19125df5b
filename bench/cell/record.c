#include "bench/cell/record.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench/cell/environment.h"
#include "bench/common/document.h"
#include "engine/file.h"
#include "engine/memory.h"

static json_t *settings_to_json(const Cell *cell, const Settings *settings) {
    json_t *object = json_object();
    int count;
    CellValue *values = cell_values(cell, &count);
    for (int i = 0; i < count; i++) {
        const Setting *given = settings_find(settings, values[i].key);
        json_object_set_new(object, values[i].key,
                            json_pack("{s:s, s:s}", "value", values[i].text, "source",
                                      given ? given->source : "default"));
    }
    free(values);
    return object;
}

/* What the metric means, so that tables need neither the task's code nor its data. A task without
 * a solved level has null there. */
static json_t *metric_to_json(const Problem *problem) {
    json_t *object = json_pack("{s:s, s:b}", "name", problem->metric, "higher_is_better",
                               problem->higher_is_better);
    json_object_set_new(object, "chance",
                        isfinite(problem->chance) ? json_real(problem->chance) : json_null());
    json_object_set_new(object, "solved",
                        isfinite(problem->solved) ? json_real(problem->solved) : json_null());
    if (problem->best != 0) json_object_set_new(object, "best", json_real(problem->best));
    return object;
}

static double real_or_nan(const json_t *value) {
    return json_is_number(value) ? json_number_value(value) : NAN;
}

static bool read_metric(Record *record, const json_t *json) {
    const json_t *metric = json_object_get(json, "metric");
    const char *name = json_string_value(json_object_get(metric, "name"));
    const json_t *higher = json_object_get(metric, "higher_is_better");
    if (!name || !json_is_boolean(higher)) return false;
    snprintf(record->metric, sizeof record->metric, "%s", name);
    record->higher_is_better = json_is_true(higher);
    record->chance = real_or_nan(json_object_get(metric, "chance"));
    record->solved = real_or_nan(json_object_get(metric, "solved"));
    record->best = real_or_nan(json_object_get(metric, "best"));
    return true;
}

static json_t *now_text(void) {
    const time_t now = time(NULL);
    struct tm parts;
    char text[32];
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &parts));
    return json_string(text);
}

Status record_write(const char *folder, const Cell *cell, const Settings *settings,
                    const Result *result, Error *error) {
    char path[PATH_MAX], identity[17];
    Problem problem;
    if (path_join(path, folder, "result.json", error) != STATUS_OK ||
        cell_validate(cell, &problem, error) != STATUS_OK)
        return error->status;
    cell_identity(cell, identity);
    json_t *object = json_object();
    json_object_set_new(object, "identity", json_string(identity));
    json_object_set_new(object, "task", json_string(cell->task->name));
    json_object_set_new(object, "task_version", json_integer(cell->task->version));
    json_object_set_new(object, "model", json_string(cell->model->name));
    json_object_set_new(object, "device", json_string(cell->device));
    json_object_set_new(object, "finished", now_text());
    json_object_set_new(object, "settings", settings_to_json(cell, settings));
    json_object_set_new(object, "metric", metric_to_json(&problem));
    json_object_set_new(object, "result", result_to_json(result));
    json_object_set_new(object, "environment", environment_json());
    const Status status = document_write(path, object, error);
    json_decref(object);
    return status;
}

static bool read_settings(Record *record, const json_t *json) {
    const char *key;
    json_t *entry;
    json_object_foreach(json_object_get(json, "settings"), key, entry) {
        const char *value = json_string_value(json_object_get(entry, "value"));
        const char *source = json_string_value(json_object_get(entry, "source"));
        if (!value || !source ||
            settings_add(&record->settings, key, value, source, NULL) != STATUS_OK)
            return false;
    }
    return record->settings.count > 0;
}

static bool read_word(const json_t *json, const char *name, char *text, size_t bytes) {
    const char *value = json_string_value(json_object_get(json, name));
    if (value) snprintf(text, bytes, "%s", value);
    return value && strlen(value) < bytes;
}

static bool read_record(Record *record, const json_t *json, char *field, size_t bytes) {
    const struct {
        const char *name;
        char *text;
        size_t bytes;
    } words[] = {{"identity", record->identity, sizeof record->identity},
                 {"task", record->task, sizeof record->task},
                 {"model", record->model, sizeof record->model},
                 {"device", record->device, sizeof record->device}};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        snprintf(field, bytes, "%s", words[i].name);
        if (!read_word(json, words[i].name, words[i].text, words[i].bytes)) return false;
    }
    const json_t *environment = json_object_get(json, "environment");
    const struct {
        const json_t *object;
        const char *name;
        char *text;
        size_t bytes;
    } facts[] = {{environment, "version", record->version, sizeof record->version},
                 {environment, "revision", record->revision, sizeof record->revision},
                 {environment, "processor", record->processor, sizeof record->processor},
                 {json, "finished", record->finished, sizeof record->finished}};
    for (size_t i = 0; i < sizeof facts / sizeof *facts; i++)
        read_word(facts[i].object, facts[i].name, facts[i].text, facts[i].bytes);
    snprintf(field, bytes, "task_version");
    const json_t *version = json_object_get(json, "task_version");
    if (!json_is_integer(version)) return false;
    record->task_version = (int)json_integer_value(version);
    snprintf(field, bytes, "metric");
    if (!read_metric(record, json)) return false;
    snprintf(field, bytes, "settings");
    if (!read_settings(record, json)) return false;
    return result_from_json(json_object_get(json, "result"), &record->result, field, bytes);
}

Status record_read(Record *record, const char *path, Error *error) {
    *record = (Record){0};
    json_t *json;
    const Status status = document_read(path, &json, error);
    if (status != STATUS_OK) return status;
    record->path = memory_copy_text(path);
    char field[64];
    const bool good = read_record(record, json, field, sizeof field);
    json_decref(json);
    if (good) return STATUS_OK;
    record_close(record);
    return error_set(error, STATUS_DATA, "%s: field '%s' is missing or of the wrong type", path,
                     field);
}

Status record_read_of(Record *record, const char *folder, const Cell *cell, Error *error) {
    char path[PATH_MAX], identity[sizeof record->identity];
    Status status = path_join(path, folder, "result.json", error);
    if (status == STATUS_OK) status = record_read(record, path, error);
    if (status != STATUS_OK) return status;
    cell_identity(cell, identity);
    if (strcmp(record->identity, identity) == 0 && strcmp(record->device, cell->device) == 0)
        return STATUS_OK;
    status = error_set(error, STATUS_DATA,
                       "%s is the result of cell %s on device %s, not of %s on %s: a copy? remove "
                       "it, and the cell runs",
                       path, record->identity, record->device, identity, cell->device);
    record_close(record);
    return status;
}

void record_close(Record *record) {
    settings_free(&record->settings);
    result_free(&record->result);
    free(record->path);
    *record = (Record){0};
}

const char *record_setting(const Record *record, const char *key) {
    const Setting *setting = settings_find(&record->settings, key);
    return setting ? setting->value : NULL;
}
