#include "bench/cell/config.h"

#include <stdio.h>
#include <string.h>

void config_source(const Yaml *yaml, const YamlNode *node, char source[OPTION_TEXT_BYTES]) {
    const char *path = yaml_path(yaml), *slash = strrchr(path, '/');
    snprintf(source, OPTION_TEXT_BYTES, "%.200s line %d", slash ? slash + 1 : path, node->line);
}

Status config_add(const Yaml *yaml, const YamlNode *key, const YamlNode *value, Settings *settings,
                  Error *error) {
    char source[OPTION_TEXT_BYTES];
    config_source(yaml, key, source);
    const Status status = yaml_expect(yaml, value, YAML_WORD, key->word, error);
    if (status != STATUS_OK) return status;
    return settings_add(settings, key->word, value->word, source, error);
}

/* key: {value: V, source: S} */
static Status add_sourced(const Yaml *yaml, const YamlNode *key, const YamlNode *map,
                          Settings *settings, Error *error) {
    static const char *const known[] = {"value", "source", NULL};
    const YamlNode *value = yaml_get(map, "value"), *source = yaml_get(map, "source");
    Status status = yaml_check_keys(yaml, map, "a setting", known, error);
    if (status == STATUS_OK && !(value && source))
        status = yaml_error(yaml, key, error, "'%s' lacks value or source", key->word);
    if (status == STATUS_OK) status = yaml_expect(yaml, value, YAML_WORD, "value", error);
    if (status == STATUS_OK) status = yaml_expect(yaml, source, YAML_WORD, "source", error);
    if (status != STATUS_OK) return status;
    return settings_add(settings, key->word, value->word, source->word, error);
}

Status config_read(const char *path, Settings *settings, Error *error) {
    Yaml *yaml;
    Status status = yaml_open(&yaml, path, error);
    if (status != STATUS_OK) return status;
    const YamlNode *root = yaml_root(yaml);
    status = yaml_expect(yaml, root, YAML_MAP, "a configuration", error);
    for (int i = 0; i < root->count && status == STATUS_OK; i++) {
        const YamlNode *value = &root->children[i];
        status = (value->kind == YAML_MAP ? add_sourced : config_add)(yaml, &root->keys[i], value,
                                                                      settings, error);
    }
    yaml_close(yaml);
    return status;
}
