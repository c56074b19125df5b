/* YAML for configurations: plain trees of mappings, lists and words, each with its line. Every
 * value stays the text that was written ("no" is no, 010 is 010): the option tables give it its
 * type. */
#ifndef LONGHAUL_YAML_H
#define LONGHAUL_YAML_H

#include <stdbool.h>

#include "engine/status.h"

typedef struct Yaml Yaml;
typedef struct YamlNode YamlNode;

typedef enum YamlKind { YAML_WORD, YAML_LIST, YAML_MAP } YamlKind;

struct YamlNode {
    YamlKind kind;
    int line;         /* from 1 */
    const char *word; /* YAML_WORD */
    int count;        /* children of a list, pairs of a map */
    const YamlNode *children;
    const YamlNode *keys; /* YAML_MAP: words */
};

/* Errors, with file and line: STATUS_USAGE for a missing file, wrong syntax, a duplicate key, an
 * alias, a key that is no word, more than one document, nesting deeper than 16, more than 1 MiB. */
Status yaml_open(Yaml **yaml, const char *path, Error *error);
void yaml_close(Yaml *yaml);

const YamlNode *yaml_root(const Yaml *yaml);
const char *yaml_path(const Yaml *yaml);

/* The child of this key, or NULL (also for NULL and for nodes that are no maps). */
const YamlNode *yaml_get(const YamlNode *node, const char *key);

/* STATUS_USAGE "FILE line N: ..." */
Status yaml_error(const Yaml *yaml, const YamlNode *node, Error *error, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Refuses every key that is not among known (NULL-terminated), with the nearest one. what: "a
 * preset", for the message. */
Status yaml_check_keys(const Yaml *yaml, const YamlNode *map, const char *what,
                       const char *const *known, Error *error);

/* Refuses a node of another kind. NULL is fine. */
Status yaml_expect(const Yaml *yaml, const YamlNode *node, YamlKind kind, const char *what,
                   Error *error);

#endif
