/* A flat YAML file of settings for one cell, such as the config.yaml that every cell leaves. */
#ifndef LONGHAUL_CONFIG_H
#define LONGHAUL_CONFIG_H

#include "bench/cell/setting.h"
#include "bench/common/yaml.h"

/* Appends what the file says: "key: value", whose source is then "FILE line N", or
 * "key: {value: V, source: S}". STATUS_USAGE with file and line. */
Status config_read(const char *path, Settings *settings, Error *error);

/* "mqar.yaml line 12": the file without its folder, so that results do not depend on where it lay.
 */
void config_source(const Yaml *yaml, const YamlNode *node, char source[OPTION_TEXT_BYTES]);

/* One pair, value being a word. */
Status config_add(const Yaml *yaml, const YamlNode *key, const YamlNode *value, Settings *settings,
                  Error *error);

#endif
