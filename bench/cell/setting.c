#include "bench/cell/setting.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/memory.h"

/* Where files lie is no part of what a cell is: it goes into the environment, which the processes
 * of a sweep inherit. The command line is stronger than the environment, a file is weaker. */
static Status place_data(const char *folder, const char *source, Error *error) {
    if (!*folder) return error_set(error, STATUS_USAGE, "%s: data.dir= names no folder", source);
    return setenv("LONGHAUL_DATA", folder, strcmp(source, "command line") == 0) == 0
               ? STATUS_OK
               : error_set(error, STATUS_IO, "out of memory");
}

Status settings_add(Settings *settings, const char *key, const char *value, const char *source,
                    Error *error) {
    if (strcmp(key, "data.dir") == 0) return place_data(value, source, error);
    if (settings->count == settings->capacity) {
        const int capacity = settings->capacity ? 2 * settings->capacity : 16;
        settings->list = memory_resize(settings->list, (size_t)capacity * sizeof *settings->list);
        settings->capacity = capacity;
    }
    Setting *setting = &settings->list[settings->count];
    snprintf(setting->source, sizeof setting->source, "%s", source);
    const int key_length = snprintf(setting->key, sizeof setting->key, "%s", key);
    const int length = snprintf(setting->value, sizeof setting->value, "%s", value);
    if (key_length >= (int)sizeof setting->key || length >= (int)sizeof setting->value)
        return error_set(error, STATUS_USAGE, "%s: '%.40s...' is too long", source,
                         key_length >= (int)sizeof setting->key ? key : value);
    settings->count++;
    return STATUS_OK;
}

Status settings_add_all(Settings *settings, const Settings *more, Error *error) {
    for (int i = 0; i < more->count; i++) {
        const Setting *one = &more->list[i];
        const Status status = settings_add(settings, one->key, one->value, one->source, error);
        if (status != STATUS_OK) return status;
    }
    return STATUS_OK;
}

Status settings_parse(Settings *settings, const char *text, const char *source, Error *error) {
    char key[64];
    const char *equals = strchr(text, '=');
    if (!equals || equals == text || equals - text >= (ptrdiff_t)sizeof key)
        return error_set(error, STATUS_USAGE, "%s: '%.80s' is not a setting; expected key=value",
                         source, text);
    snprintf(key, sizeof key, "%.*s", (int)(equals - text), text);
    return settings_add(settings, key, equals + 1, source, error);
}

const Setting *settings_find(const Settings *settings, const char *key) {
    for (int i = settings->count - 1; i >= 0; i--)
        if (strcmp(settings->list[i].key, key) == 0) return &settings->list[i];
    return NULL;
}

void settings_free(Settings *settings) {
    free(settings->list);
    *settings = (Settings){0};
}
