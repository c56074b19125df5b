/* A flat YAML file of settings for one cell, such as the config.yaml that every cell leaves. */
#ifndef LONGHAUL_CONFIG_H
#define LONGHAUL_CONFIG_H

#include "bench/setting.h"
#include "bench/yaml.h"

/* Appends "key: value" pairs; the source is "FILE line N". STATUS_USAGE with file and line. */
Status config_read(const char *path, Settings *settings, Error *error);

/* The pairs of one map of words. NULL: none. */
Status config_add_map(const Yaml *yaml, const YamlNode *map, Settings *settings, Error *error);

/* One pair. */
Status config_add(const Yaml *yaml, const YamlNode *key, const YamlNode *value, Settings *settings,
                  Error *error);

#endif
