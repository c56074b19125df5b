#include "bench/common/yaml.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "engine/file.h"
#include "engine/memory.h"
#include "engine/word.h"

enum { DEEPEST = 16, LARGEST_BYTES = 1 << 20, MOST_KEYS = 2048 };

struct Yaml {
    char *path;
    yaml_document_t document; /* owns the words */
    YamlNode *root;
};

static Status at_line(const char *path, int line, Error *error, const char *message) {
    return error_set(error, STATUS_USAGE, "%s line %d: %s", path, line, message);
}

static void node_free(YamlNode *node) {
    for (int i = 0; i < node->count; i++) {
        node_free((YamlNode *)&node->children[i]);
        if (node->keys) node_free((YamlNode *)&node->keys[i]); /* one that was refused: a list */
    }
    free((YamlNode *)node->children);
    free((YamlNode *)node->keys);
}

/* Work of one conversion; used marks nodes that were visited, so that an alias is noticed. */
typedef struct Conversion {
    const char *path;
    yaml_document_t *document;
    bool *used;
    Error *error;
} Conversion;

static Status convert(Conversion *work, int index, int depth, YamlNode *out);

static Status convert_list(Conversion *work, const yaml_node_t *node, int depth, YamlNode *out) {
    const yaml_node_item_t *first = node->data.sequence.items.start;
    const size_t count = (size_t)(node->data.sequence.items.top - first);
    YamlNode *children = memory_take_zeroed(count + 1, sizeof *children);
    out->children = children;
    Status status = STATUS_OK;
    for (size_t i = 0; i < count && status == STATUS_OK; i++) {
        status = convert(work, first[i], depth + 1, &children[i]);
        out->count++;
    }
    return status;
}

static Status convert_pair(Conversion *work, const yaml_node_pair_t *pair, int depth,
                           YamlNode *keys, YamlNode *children, int index) {
    Status status = convert(work, pair->key, depth + 1, &keys[index]);
    if (status != STATUS_OK) return status;
    const YamlNode *key = &keys[index];
    if (key->kind != YAML_WORD)
        return at_line(work->path, key->line, work->error, "a key must be one word");
    for (int i = 0; i < index; i++)
        if (strcmp(keys[i].word, key->word) == 0)
            return error_set(work->error, STATUS_USAGE,
                             "%s line %d: key '%s' is there already in line %d; keep one of them",
                             work->path, key->line, key->word, keys[i].line);
    return convert(work, pair->value, depth + 1, &children[index]);
}

static Status convert_map(Conversion *work, const yaml_node_t *node, int depth, YamlNode *out) {
    const yaml_node_pair_t *first = node->data.mapping.pairs.start;
    const size_t count = (size_t)(node->data.mapping.pairs.top - first);
    if (count > MOST_KEYS) /* each is compared with those before it */
        return error_set(work->error, STATUS_USAGE,
                         "%s line %d: a mapping of %zu keys; expected at most %d", work->path,
                         out->line, count, MOST_KEYS);
    YamlNode *children = memory_take_zeroed(count + 1, sizeof *children);
    YamlNode *keys = memory_take_zeroed(count + 1, sizeof *keys);
    out->children = children;
    out->keys = keys;
    Status status = STATUS_OK;
    for (size_t i = 0; i < count && status == STATUS_OK; i++) {
        out->count++;
        status = convert_pair(work, &first[i], depth, keys, children, (int)i);
    }
    return status;
}

static Status convert(Conversion *work, int index, int depth, YamlNode *out) {
    const yaml_node_t *node = yaml_document_get_node(work->document, index);
    out->line = (int)node->start_mark.line + 1;
    if (work->used[index])
        return at_line(work->path, out->line, work->error,
                       "this node has an alias; write the value out where it is used");
    work->used[index] = true;
    if (depth > DEEPEST)
        return at_line(work->path, out->line, work->error, "nested deeper than 16 levels");
    if (node->type == YAML_SEQUENCE_NODE) {
        out->kind = YAML_LIST;
        return convert_list(work, node, depth, out);
    }
    if (node->type == YAML_MAPPING_NODE) {
        out->kind = YAML_MAP;
        return convert_map(work, node, depth, out);
    }
    out->kind = YAML_WORD;
    out->word = (const char *)node->data.scalar.value;
    if (strlen(out->word) != node->data.scalar.length)
        return at_line(work->path, out->line, work->error, "a word holds a zero byte");
    return STATUS_OK;
}

static Status syntax_error(const char *path, const yaml_parser_t *parser, Error *error) {
    if (!parser->problem) /* every mistake in the text has one; the error code is not always set */
        return error_set(error, STATUS_IO, "reading %s: out of memory", path);
    return error_set(error, STATUS_USAGE, "%s line %zu: %s%s%s", path,
                     parser->problem_mark.line + 1, parser->problem, parser->context ? ", " : "",
                     parser->context ? parser->context : "");
}

/* Loads the only document of the text; the tree is converted while the parser's text is there. */
static Status load(Yaml *yaml, const char *text, size_t bytes, Error *error) {
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser)) return error_set(error, STATUS_IO, "out of memory");
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, bytes);
    Status status = STATUS_OK;
    yaml_document_t more;
    if (!yaml_parser_load(&parser, &yaml->document)) {
        status = syntax_error(yaml->path, &parser, error);
        yaml->document = (yaml_document_t){0};
    } else if (!yaml_document_get_root_node(&yaml->document)) {
        status = error_set(error, STATUS_USAGE, "%s is empty; expected key: value", yaml->path);
    } else if (!yaml_parser_load(&parser, &more)) {
        status = syntax_error(yaml->path, &parser, error);
    } else {
        const yaml_node_t *second = yaml_document_get_root_node(&more);
        if (second)
            status = at_line(yaml->path, (int)second->start_mark.line + 1, error,
                             "a second document begins; expected one");
        yaml_document_delete(&more);
    }
    yaml_parser_delete(&parser);
    return status;
}

static Status build(Yaml *yaml, Error *error) {
    const size_t nodes = (size_t)(yaml->document.nodes.top - yaml->document.nodes.start);
    Conversion work = {yaml->path, &yaml->document, memory_take_zeroed(nodes + 1, sizeof(bool)),
                       error};
    yaml->root = memory_take_zeroed(1, sizeof *yaml->root);
    const Status status = convert(&work, 1, 0, yaml->root);
    free(work.used);
    return status;
}

Status yaml_open(Yaml **yaml, const char *path, Error *error) {
    *yaml = NULL;
    char *text;
    size_t bytes;
    Status status = file_read(path, &text, &bytes, error);
    if (status == STATUS_DATA) error->status = status = STATUS_USAGE; /* a wrong argument */
    if (status != STATUS_OK) return status;
    Yaml *own = memory_take_zeroed(1, sizeof *own);
    own->path = memory_copy_text(path);
    if (bytes > LARGEST_BYTES) {
        status = error_set(error, STATUS_USAGE, "%s has %zu bytes; expected at most %d", path,
                           bytes, LARGEST_BYTES);
    } else {
        status = load(own, text, bytes, error);
        if (status == STATUS_OK) status = build(own, error);
    }
    free(text);
    if (status == STATUS_OK)
        *yaml = own;
    else
        yaml_close(own);
    return status;
}

void yaml_close(Yaml *yaml) {
    if (!yaml) return;
    if (yaml->root) node_free(yaml->root);
    free(yaml->root);
    yaml_document_delete(&yaml->document);
    free(yaml->path);
    free(yaml);
}

const YamlNode *yaml_root(const Yaml *yaml) {
    return yaml->root;
}

const char *yaml_path(const Yaml *yaml) {
    return yaml->path;
}

const YamlNode *yaml_get(const YamlNode *node, const char *key) {
    if (!node || node->kind != YAML_MAP) return NULL;
    for (int i = 0; i < node->count; i++)
        if (strcmp(node->keys[i].word, key) == 0) return &node->children[i];
    return NULL;
}

Status yaml_error(const Yaml *yaml, const YamlNode *node, Error *error, const char *format, ...) {
    char message[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    return at_line(yaml->path, node->line, error, message);
}

Status yaml_check_keys(const Yaml *yaml, const YamlNode *map, const char *what,
                       const char *const *known, Error *error) {
    for (int i = 0; i < map->count; i++) {
        const YamlNode *key = &map->keys[i];
        Nearest nearest = {.wanted = key->word};
        for (const char *const *at = known; *at; at++) nearest_offer(&nearest, *at);
        if (nearest.word && nearest.distance == 0) continue;
        char advice[128];
        nearest_advice(&nearest, advice, sizeof advice);
        return yaml_error(yaml, key, error, "unknown key '%s' of %s%s", key->word, what, advice);
    }
    return STATUS_OK;
}

Status yaml_expect(const Yaml *yaml, const YamlNode *node, YamlKind kind, const char *what,
                   Error *error) {
    static const char *const names[] = {
        [YAML_WORD] = "a word", [YAML_LIST] = "a list [a, b]", [YAML_MAP] = "a mapping key: value"};
    if (!node || node->kind == kind) return STATUS_OK;
    return yaml_error(yaml, node, error, "%s is %s; expected %s", what, names[node->kind],
                      names[kind]);
}
