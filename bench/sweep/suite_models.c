/* Which models a suite has: architectures, and kinds of them under names of its own,
 * "NAME: {of: ARCHITECTURE, key: value}". */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/cell/config.h"
#include "bench/sweep/suite_reader.h"
#include "engine/memory.h"
#include "engine/word.h"

enum { LEVELS = 2 };

/* What suite and preset say under `model` of a name; NULL: nothing. */
static void entries_of(const Reader *reader, const char *name, const YamlNode *entries[LEVELS]) {
    entries[0] = yaml_get(yaml_get(reader->root, "model"), name);
    entries[1] = yaml_get(yaml_get(reader->preset, "model"), name);
}

/* The word behind `of` of a name; NULL: it is not given to a kind of an architecture. */
static const YamlNode *architecture_of(const Reader *reader, const char *name) {
    const YamlNode *entries[LEVELS];
    entries_of(reader, name, entries);
    const YamlNode *of = yaml_get(entries[0], "of");
    return of ? of : yaml_get(entries[1], "of");
}

bool reader_knows_model(const Reader *reader, const char *name) {
    return model_find(name) || architecture_of(reader, name);
}

/* "; did you mean 'mamba'?" or "". */
static void model_advice(const Reader *reader, const char *name, char *advice, size_t bytes) {
    Nearest nearest = {.wanted = name};
    int count;
    const Model *const *models = model_list(&count);
    for (int i = 0; i < count; i++) nearest_offer(&nearest, models[i]->name);
    const YamlNode *const maps[LEVELS] = {yaml_get(reader->root, "model"),
                                          yaml_get(reader->preset, "model")};
    for (int m = 0; m < LEVELS; m++)
        for (int i = 0; maps[m] && i < maps[m]->count; i++)
            if (reader_knows_model(reader, maps[m]->keys[i].word))
                nearest_offer(&nearest, maps[m]->keys[i].word);
    nearest_advice(&nearest, advice, bytes);
}

static Status unknown_model(const Reader *reader, const YamlNode *word) {
    char advice[128];
    model_advice(reader, word->word, advice, sizeof advice);
    return yaml_error(reader->yaml, word, reader->error,
                      "unknown model '%s'%s (a kind of one has its architecture under model: "
                      "NAME: {of: ARCHITECTURE, ...})",
                      word->word, advice);
}

/* A name must read as one in tables, paths of keys (NAME.key=value) and lists with commas. */
static Status check_name(const Reader *reader, const YamlNode *key) {
    for (const char *c = key->word; *c; c++)
        if (!isalnum((unsigned char)*c) && !strchr("_-+:[]", *c))
            return yaml_error(reader->yaml, key, reader->error,
                              "'%s' cannot be the name of a model: '%c' is in it; expected "
                              "letters, digits and _ - + : [ ]",
                              key->word, *c);
    if (*key->word == '-' || strlen(key->word) >= SUITE_KEY_BYTES)
        return yaml_error(reader->yaml, key, reader->error,
                          "'%s' cannot be the name of a model: expected at most %d bytes that "
                          "begin with no -",
                          key->word, SUITE_KEY_BYTES - 1);
    return STATUS_OK;
}

/* A name that is given to a kind of an architecture. */
static Status check_kind(const Reader *reader, const YamlNode *key, const YamlNode *of) {
    const YamlNode *entries[LEVELS];
    entries_of(reader, key->word, entries);
    if (model_find(key->word))
        return yaml_error(reader->yaml, key, reader->error,
                          "'%s' is an architecture; a kind of one needs a name of its own",
                          key->word);
    Status status = check_name(reader, key);
    if (status == STATUS_OK) status = yaml_expect(reader->yaml, of, YAML_WORD, "of", reader->error);
    if (status != STATUS_OK) return status;
    if (!model_find(of->word) && architecture_of(reader, of->word))
        return yaml_error(reader->yaml, of, reader->error,
                          "of: '%s' has its name from this suite, too; expected an architecture",
                          of->word);
    if (!model_find(of->word)) return unknown_model(reader, of);
    const YamlNode *first = yaml_get(entries[0], "of"), *second = yaml_get(entries[1], "of");
    if (first && second)
        return yaml_error(reader->yaml, second, reader->error,
                          "what '%s' is of stands in line %d already; a preset adds settings only",
                          key->word, first->line);
    const int keys = (entries[0] ? entries[0]->count : 0) + (entries[1] ? entries[1]->count : 0);
    if (keys > 1) return STATUS_OK;
    return yaml_error(reader->yaml, key, reader->error,
                      "'%s' sets nothing, so it is %s under another name; expected a setting "
                      "beside of",
                      key->word, of->word);
}

/* The names under `model` must mean something even if this preset does not use them. */
static Status check_entries(const Reader *reader, const YamlNode *map) {
    Status status = yaml_expect(reader->yaml, map, YAML_MAP, "model", reader->error);
    for (int i = 0; map && i < map->count && status == STATUS_OK; i++) {
        const YamlNode *key = &map->keys[i], *of = architecture_of(reader, key->word);
        status = yaml_expect(reader->yaml, &map->children[i], YAML_MAP, key->word, reader->error);
        if (status == STATUS_OK && of)
            status = check_kind(reader, key, of);
        else if (status == STATUS_OK && !model_find(key->word))
            status = unknown_model(reader, key);
    }
    return status;
}

/* The settings of a name at both levels. */
static Status add_entries(const Reader *reader, const char *name, Settings *settings) {
    const YamlNode *entries[LEVELS];
    entries_of(reader, name, entries);
    Status status = STATUS_OK;
    for (int l = 0; l < LEVELS; l++)
        for (int i = 0; entries[l] && i < entries[l]->count && status == STATUS_OK; i++) {
            const YamlNode pair = reader_pair(entries[l], i);
            if (strcmp(pair.keys->word, "of") != 0)
                status = reader_settings(reader, &pair, name, settings);
        }
    return status;
}

static Status add_model(const Reader *reader, const char *name, const char *source,
                        SuiteFile *file) {
    const YamlNode *of = architecture_of(reader, name);
    const char *architecture = of ? of->word : name;
    file->names =
        memory_resize(file->names, ((size_t)file->models.count + 1) * sizeof *file->names);
    SuiteModel *own = &file->names[file->models.count];
    *own = (SuiteModel){0};
    snprintf(own->name, sizeof own->name, "%s", name);
    Settings *choice = axis_choice(&file->models);
    Status status = settings_add(choice, "model", architecture, source, reader->error);
    if (status == STATUS_OK) status = add_entries(reader, architecture, choice);
    if (status == STATUS_OK && of) status = add_entries(reader, name, &own->own);
    return status;
}

/* An entry of the file's list, if the request lets it through. */
static Status add_listed(const Reader *reader, const char *patterns, const YamlNode *word,
                         SuiteFile *file) {
    Status status = yaml_expect(reader->yaml, word, YAML_WORD, "an entry of models", reader->error);
    if (status != STATUS_OK) return status;
    if (!reader_knows_model(reader, word->word)) return unknown_model(reader, word);
    if (!word_selected(patterns, word->word)) return STATUS_OK;
    char source[OPTION_TEXT_BYTES];
    config_source(reader->yaml, word, source);
    return add_model(reader, word->word, source, file);
}

static bool has_model(const SuiteFile *file, const char *name) {
    for (int i = 0; i < file->models.count; i++)
        if (!strcmp(file->names[i].name, name)) return true;
    return false;
}

static Status no_such_model(const Reader *reader, const char *name) {
    char advice[128];
    model_advice(reader, name, advice, sizeof advice);
    return error_set(reader->error, STATUS_USAGE,
                     "--model: unknown model '%s'%s; `longhaul list models` shows them, and "
                     "%s what it names itself",
                     name, advice, yaml_path(reader->yaml));
}

/* A model that the request names in full runs also where the preset does not list it. */
static Status add_named(const Reader *reader, const SuiteRequest *request, SuiteFile *file) {
    Status status = STATUS_OK;
    for (const char *next = request->models; next && *next && status == STATUS_OK;) {
        char name[OPTION_TEXT_BYTES];
        const size_t length = strcspn(next, ",");
        snprintf(name, sizeof name, "%.*s", (int)length, next);
        next += length + (next[length] == ',');
        const bool known = reader_knows_model(reader, name);
        if (!*name || (!known && (strpbrk(name, "!*?[") || request->of_another)) ||
            has_model(file, name) || !word_selected(request->models, name))
            continue;
        status = known ? add_model(reader, name, "--model", file) : no_such_model(reader, name);
    }
    return status;
}

Status reader_models(const Reader *reader, const SuiteRequest *request, SuiteFile *file) {
    const YamlNode *list = yaml_get(reader->preset, "models");
    if (!list) list = yaml_get(reader->root, "models");
    if (!list)
        return yaml_error(reader->yaml, reader->root, reader->error,
                          "no models; expected models: [transformer, ...]");
    Status status = yaml_expect(reader->yaml, list, YAML_LIST, "models", reader->error);
    if (status == STATUS_OK) status = check_entries(reader, yaml_get(reader->root, "model"));
    if (status == STATUS_OK) status = check_entries(reader, yaml_get(reader->preset, "model"));
    for (int i = 0; i < list->count && status == STATUS_OK; i++)
        status = add_listed(reader, request->models, &list->children[i], file);
    if (status == STATUS_OK) status = add_named(reader, request, file);
    if (status != STATUS_OK || file->models.count > 0) return status;
    const char *wanted = request->models ? request->models : "";
    char advice[128];
    model_advice(reader, wanted, advice, sizeof advice);
    return error_set(reader->error, request->of_another ? STATUS_DATA : STATUS_USAGE,
                     "--model '%s' selects none of the models of %s%s; longhaul plan shows them",
                     wanted, yaml_path(reader->yaml), advice);
}
