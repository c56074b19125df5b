/* Settings as they were given, key=value, each with the place it came from. Later ones win. */
#ifndef LONGHAUL_SETTING_H
#define LONGHAUL_SETTING_H

#include "engine/option.h"

typedef struct Setting {
    char key[64], value[OPTION_TEXT_BYTES], source[OPTION_TEXT_BYTES];
} Setting;

typedef struct Settings {
    Setting *list;
    int count, capacity;
} Settings;

/* STATUS_USAGE when key or value is too long; the message names the source. data.dir is not kept:
 * it becomes LONGHAUL_DATA of this process and those it starts. */
Status settings_add(Settings *settings, const char *key, const char *value, const char *source,
                    Error *error);
Status settings_add_all(Settings *settings, const Settings *more, Error *error);

/* Splits "key=value". STATUS_USAGE when there is no '=' or no key. */
Status settings_parse(Settings *settings, const char *text, const char *source, Error *error);

/* The last one of that key, or NULL. */
const Setting *settings_find(const Settings *settings, const char *key);

void settings_free(Settings *settings);

#endif
