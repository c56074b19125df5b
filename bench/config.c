#include "bench/config.h"

#include <stdio.h>

Status config_add(const Yaml *yaml, const YamlNode *key, const YamlNode *value, Settings *settings,
                  Error *error) {
    char source[OPTION_TEXT_BYTES];
    snprintf(source, sizeof source, "%.200s line %d", yaml_path(yaml), key->line);
    const Status status = yaml_expect(yaml, value, YAML_WORD, key->word, error);
    if (status != STATUS_OK) return status;
    return settings_add(settings, key->word, value->word, source, error);
}

Status config_add_map(const Yaml *yaml, const YamlNode *map, Settings *settings, Error *error) {
    Status status = yaml_expect(yaml, map, YAML_MAP, "this", error);
    for (int i = 0; map && i < map->count && status == STATUS_OK; i++)
        status = config_add(yaml, &map->keys[i], &map->children[i], settings, error);
    return status;
}

Status config_read(const char *path, Settings *settings, Error *error) {
    Yaml *yaml;
    Status status = yaml_open(&yaml, path, error);
    if (status != STATUS_OK) return status;
    status = config_add_map(yaml, yaml_root(yaml), settings, error);
    yaml_close(yaml);
    return status;
}
