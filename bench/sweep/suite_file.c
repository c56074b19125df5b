#include "bench/sweep/suite_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/cell/config.h"
#include "bench/sweep/suite_reader.h"
#include "engine/memory.h"
#include "engine/word.h"

Settings *axis_choice(Axis *axis) {
    axis->choices = memory_resize(axis->choices, ((size_t)axis->count + 1) * sizeof *axis->choices);
    axis->choices[axis->count] = (Settings){0};
    return &axis->choices[axis->count++];
}

Status axis_add(Axis *axis, const char *key, const char *value, const char *source, Error *error) {
    return settings_add(axis_choice(axis), key, value, source, error);
}

void axis_free(Axis *axis) {
    for (int i = 0; i < axis->count; i++) settings_free(&axis->choices[i]);
    free(axis->choices);
    *axis = (Axis){0};
}

void suite_file_free(SuiteFile *file) {
    settings_free(&file->base);
    settings_free(&file->last);
    for (int i = 0; i < file->models.count; i++) {
        settings_free(&file->names[i].own);
        settings_free(&file->names[i].last);
    }
    free(file->names);
    axis_free(&file->models);
    axis_free(&file->cases);
    axis_free(&file->case_sets);
    axis_free(&file->seeds);
    for (int i = 0; i < SUITE_KEYS; i++) {
        axis_free(&file->grid[i]);
        axis_free(&file->tune[i]);
    }
}

YamlNode reader_pair(const YamlNode *map, int i) {
    return (YamlNode){.kind = YAML_MAP,
                      .line = map->line,
                      .count = 1,
                      .keys = &map->keys[i],
                      .children = &map->children[i]};
}

Status reader_settings(const Reader *reader, const YamlNode *map, const char *what,
                       Settings *settings) {
    Status status = yaml_expect(reader->yaml, map, YAML_MAP, what, reader->error);
    for (int i = 0; map && i < map->count && status == STATUS_OK; i++) {
        const YamlNode *key = &map->keys[i], *value = &map->children[i];
        if (strcmp(key->word, "seed") == 0 || strcmp(key->word, "model") == 0)
            return yaml_error(reader->yaml, key, reader->error,
                              "'%s' cannot be set here; list it under '%ss'", key->word, key->word);
        if (value->kind == YAML_LIST)
            return yaml_error(reader->yaml, key, reader->error,
                              "'%s' has a list of values; lists belong under grid or tune",
                              key->word);
        status = config_add(reader->yaml, key, value, settings, reader->error);
    }
    return status;
}

static Status copy_text(const Reader *reader, const YamlNode *node, const char *key, char *text,
                        size_t bytes) {
    text[0] = '\0';
    const Status status = yaml_expect(reader->yaml, node, YAML_WORD, key, reader->error);
    if (!node || status != STATUS_OK) return status;
    if (snprintf(text, bytes, "%s", node->word) >= (int)bytes)
        return yaml_error(reader->yaml, node, reader->error, "%s is longer than %zu bytes", key,
                          bytes - 1);
    return STATUS_OK;
}

/* "transformer.heads" names the model that the setting is for. */
static Status check_models_named(const Reader *reader, const YamlNode *map) {
    for (int i = 0; map->kind == YAML_MAP && i < map->count; i++) {
        const YamlNode *key = &map->keys[i];
        char name[OPTION_TEXT_BYTES];
        const char *dot = strchr(key->word, '.');
        snprintf(name, sizeof name, "%.*s", dot ? (int)(dot - key->word) : 0, key->word);
        if (dot && !reader_knows_model(reader, name))
            return yaml_error(reader->yaml, key, reader->error,
                              "'%s': no model '%s'; longhaul list models", key->word, name);
    }
    return STATUS_OK;
}

/* "transformer, mega: {width: 64}" under `model` of a case: transformer.width and mega.width. */
static Status read_case_model(const Reader *reader, const YamlNode *names, const YamlNode *map,
                              Settings *settings) {
    Status status = yaml_expect(reader->yaml, map, YAML_MAP, names->word, reader->error);
    const char *rest = names->word;
    while (status == STATUS_OK && *rest) {
        const int begin = (int)strspn(rest, ", "), length = (int)strcspn(rest + begin, ", ");
        for (int i = 0; i < map->count && status == STATUS_OK; i++) {
            char word[OPTION_TEXT_BYTES];
            YamlNode key = map->keys[i], pair = reader_pair(map, i);
            snprintf(word, sizeof word, "%.*s.%s", length, rest + begin, key.word);
            key.word = word;
            pair.keys = &key;
            status = reader_settings(reader, &pair, names->word, settings);
            if (status == STATUS_OK) status = check_models_named(reader, &pair);
        }
        rest += begin + length;
        rest += strspn(rest, ", ");
    }
    return status;
}

/* The map `model` of a case. */
static Status read_case_models(const Reader *reader, const YamlNode *map, Settings *settings) {
    Status status = yaml_expect(reader->yaml, map, YAML_MAP, "model", reader->error);
    for (int i = 0; i < map->count && status == STATUS_OK; i++)
        status = read_case_model(reader, &map->keys[i], &map->children[i], settings);
    return status;
}

/* One case: settings that name it, under "set" those that only go with it, and under "model" those
 * that go with it for some models. */
static Status read_case(const Reader *reader, const YamlNode *map, Settings *names,
                        Settings *others) {
    Status status = yaml_expect(reader->yaml, map, YAML_MAP, "a case", reader->error);
    for (int i = 0; i < map->count && status == STATUS_OK; i++) {
        const YamlNode one = reader_pair(map, i);
        if (strcmp(map->keys[i].word, "model") == 0) {
            status = read_case_models(reader, &map->children[i], others);
            continue;
        }
        const bool set = strcmp(map->keys[i].word, "set") == 0;
        status = reader_settings(reader, set ? &map->children[i] : &one, set ? "set" : "a case",
                                 set ? others : names);
        if (status == STATUS_OK && set) status = check_models_named(reader, &map->children[i]);
    }
    if (status == STATUS_OK && names->count == 0)
        status = yaml_error(reader->yaml, map, reader->error,
                            "a case has nothing but set and model; expected a key that names it");
    return status;
}

static Status read_cases(const Reader *reader, SuiteFile *file) {
    const YamlNode *list = yaml_get(reader->preset, "cases");
    Status status = yaml_expect(reader->yaml, list, YAML_LIST, "cases", reader->error);
    for (int i = 0; list && i < list->count && status == STATUS_OK; i++) {
        Settings *names = axis_choice(&file->cases), *others = axis_choice(&file->case_sets);
        status = read_case(reader, &list->children[i], names, others);
    }
    return status;
}

/* One key of grid or tune: a list of words, or one word. */
static Status read_axis(const Reader *reader, const YamlNode *key, const YamlNode *values,
                        Axis *axis) {
    if (strcmp(key->word, "seed") == 0 || strcmp(key->word, "model") == 0)
        return yaml_error(reader->yaml, key, reader->error, "list '%s' under '%ss'", key->word,
                          key->word);
    if (strcmp(key->word, "data.dir") == 0)
        return yaml_error(reader->yaml, key, reader->error,
                          "data.dir cannot vary: it says where files lie, for all cells; give it "
                          "on the command line");
    char source[OPTION_TEXT_BYTES];
    config_source(reader->yaml, key, source);
    if (values->kind == YAML_WORD)
        return axis_add(axis, key->word, values->word, source, reader->error);
    Status status = yaml_expect(reader->yaml, values, YAML_LIST, key->word, reader->error);
    if (status == STATUS_OK && values->count == 0)
        status = yaml_error(reader->yaml, key, reader->error, "%s has no values", key->word);
    for (int i = 0; i < values->count && status == STATUS_OK; i++) {
        const YamlNode *value = &values->children[i];
        status = yaml_expect(reader->yaml, value, YAML_WORD, key->word, reader->error);
        if (status == STATUS_OK)
            status = axis_add(axis, key->word, value->word, source, reader->error);
    }
    return status;
}

static Status read_axes(const Reader *reader, const char *name, Axis axes[SUITE_KEYS], int *count) {
    const YamlNode *map = yaml_get(reader->preset, name);
    Status status = yaml_expect(reader->yaml, map, YAML_MAP, name, reader->error);
    if (map && status == STATUS_OK && map->count > SUITE_KEYS)
        status = yaml_error(reader->yaml, map, reader->error, "%s has more than %d keys", name,
                            SUITE_KEYS);
    for (int i = 0; map && i < map->count && status == STATUS_OK; i++)
        status = read_axis(reader, &map->keys[i], &map->children[i], &axes[(*count)++]);
    return status;
}

static Status read_seeds(const Reader *reader, Axis *seeds) {
    const YamlNode *list = yaml_get(reader->preset, "seeds");
    if (!list) return axis_add(seeds, "seed", "1", "default", reader->error);
    const YamlNode key = {.kind = YAML_WORD, .line = list->line, .word = "seeds"};
    Status status = yaml_expect(reader->yaml, list, YAML_LIST, "seeds", reader->error);
    if (status == STATUS_OK) status = read_axis(reader, &key, list, seeds);
    for (int i = 0; i < seeds->count && status == STATUS_OK; i++)
        snprintf(seeds->choices[i].list[0].key, sizeof seeds->choices[i].list[0].key, "seed");
    return status;
}

static const YamlNode *find_preset(const Reader *reader, const char *name) {
    const YamlNode *presets = yaml_get(reader->root, "presets");
    if (!presets)
        yaml_error(reader->yaml, reader->root, reader->error,
                   "no presets; expected presets: with quick, standard or paper");
    if (!presets || yaml_expect(reader->yaml, presets, YAML_MAP, "presets", reader->error))
        return NULL;
    Nearest nearest = {.wanted = name};
    for (int i = 0; i < presets->count; i++) nearest_offer(&nearest, presets->keys[i].word);
    const YamlNode *preset = yaml_get(presets, name);
    if (preset) return preset;
    char advice[128];
    nearest_advice(&nearest, advice, sizeof advice);
    yaml_error(reader->yaml, presets, reader->error, "no preset '%s'%s", name, advice);
    return NULL;
}

static Status check_keys(const Reader *reader) {
    static const char *const top[] = {"title",  "paper", "published", "task", "set",
                                      "models", "model", "presets",   NULL};
    static const char *const preset[] = {"note", "set",  "models", "model",    "cases",
                                         "grid", "tune", "seeds",  "averages", NULL};
    const YamlNode *presets = yaml_get(reader->root, "presets");
    Status status = yaml_expect(reader->yaml, reader->root, YAML_MAP, "a suite", reader->error);
    if (status == STATUS_OK)
        status = yaml_check_keys(reader->yaml, reader->root, "a suite", top, reader->error);
    for (int i = 0; presets && i < presets->count && status == STATUS_OK; i++) {
        status =
            yaml_expect(reader->yaml, &presets->children[i], YAML_MAP, "a preset", reader->error);
        if (status == STATUS_OK)
            status = yaml_check_keys(reader->yaml, &presets->children[i], "a preset", preset,
                                     reader->error);
    }
    return status;
}

static Status read_texts(const Reader *reader, Suite *suite) {
    const struct {
        const YamlNode *node;
        const char *key;
        char *text;
        size_t bytes;
    } texts[] = {{reader->root, "title", suite->title, sizeof suite->title},
                 {reader->root, "paper", suite->paper, sizeof suite->paper},
                 {reader->root, "published", suite->published, sizeof suite->published},
                 {reader->preset, "note", suite->note, sizeof suite->note}};
    Status status = STATUS_OK;
    for (size_t i = 0; i < sizeof texts / sizeof *texts && status == STATUS_OK; i++)
        status = copy_text(reader, yaml_get(texts[i].node, texts[i].key), texts[i].key,
                           texts[i].text, texts[i].bytes);
    return status;
}

static bool names_cases(const SuiteFile *file, const char *key) {
    for (int i = 0; i < file->cases.count; i++)
        if (settings_find(&file->cases.choices[i], key)) return true;
    return false;
}

static Status read_average(const Reader *reader, const SuiteFile *file, const YamlNode *name,
                           const YamlNode *map, SuiteAverage *average) {
    static const char *const keys[] = {"by", "suite", "where", "failed", NULL};
    const YamlNode *by = yaml_get(map, "by");
    Status status = yaml_expect(reader->yaml, map, YAML_MAP, name->word, reader->error);
    if (status == STATUS_OK)
        status = yaml_check_keys(reader->yaml, map, "an average", keys, reader->error);
    if (status == STATUS_OK)
        status =
            copy_text(reader, name, "the name of an average", average->name, sizeof average->name);
    if (status == STATUS_OK) status = copy_text(reader, by, "by", average->by, sizeof average->by);
    if (status == STATUS_OK && by && !names_cases(file, average->by))
        status = yaml_error(reader->yaml, by, reader->error,
                            "average '%s': no case has a key '%s'; by: takes one of the keys that "
                            "name the cases",
                            name->word, average->by);
    if (status == STATUS_OK)
        status = copy_text(reader, yaml_get(map, "suite"), "suite", average->suite,
                           sizeof average->suite);
    if (status == STATUS_OK)
        status = reader_settings(reader, yaml_get(map, "where"), "where", &average->where);
    char failed[32] = "";
    if (status == STATUS_OK)
        status = copy_text(reader, yaml_get(map, "failed"), "failed", failed, sizeof failed);
    const bool number = number_parse(failed, &average->failed);
    if (status == STATUS_OK && (number != (*failed != '\0') || number != (*average->suite != '\0')))
        return yaml_error(reader->yaml, name, reader->error,
                          "average '%s': suite: NAME and failed: METRIC belong together; failed is "
                          "the finite number that a model counts with that has no result there",
                          name->word);
    return status;
}

static Status read_averages(const Reader *reader, const SuiteFile *file, Suite *suite) {
    const YamlNode *map = yaml_get(reader->preset, "averages");
    Status status = yaml_expect(reader->yaml, map, YAML_MAP, "averages", reader->error);
    if (map && status == STATUS_OK && map->count > SUITE_AVERAGES)
        status =
            yaml_error(reader->yaml, map, reader->error, "more than %d averages", SUITE_AVERAGES);
    if (map && status == STATUS_OK && !yaml_get(reader->preset, "cases"))
        status = yaml_error(reader->yaml, map, reader->error,
                            "averages are over cases, and this preset has none");
    for (int i = 0; map && i < map->count && status == STATUS_OK; i++)
        status = read_average(reader, file, &map->keys[i], &map->children[i],
                              &suite->averages[suite->average_count++]);
    return status;
}

static Status read_base(const Reader *reader, Settings *base) {
    Status status = STATUS_OK;
    for (int i = 0; i < reader->root->count && status == STATUS_OK; i++)
        if (strcmp(reader->root->keys[i].word, "task") == 0)
            status = config_add(reader->yaml, &reader->root->keys[i], &reader->root->children[i],
                                base, reader->error);
    if (status == STATUS_OK)
        status = reader_settings(reader, yaml_get(reader->root, "set"), "set", base);
    if (status == STATUS_OK)
        status = reader_settings(reader, yaml_get(reader->preset, "set"), "set", base);
    return status;
}

Status suite_file_read(SuiteFile *file, Suite *suite, const char *path, const SuiteRequest *request,
                       Error *error) {
    Yaml *yaml;
    Status status = yaml_open(&yaml, path, error);
    if (status != STATUS_OK) return status;
    Reader reader = {.yaml = yaml, .root = yaml_root(yaml), .error = error};
    status = check_keys(&reader);
    if (status == STATUS_OK) {
        reader.preset = find_preset(&reader, request->preset);
        status = reader.preset ? STATUS_OK : error->status;
    }
    if (status == STATUS_OK) status = read_texts(&reader, suite);
    if (status == STATUS_OK) status = read_base(&reader, &file->base);
    if (status == STATUS_OK) status = reader_models(&reader, request, file);
    if (status == STATUS_OK) status = read_cases(&reader, file);
    if (status == STATUS_OK) status = read_averages(&reader, file, suite);
    if (status == STATUS_OK) status = read_axes(&reader, "grid", file->grid, &file->grid_count);
    if (status == STATUS_OK) status = read_axes(&reader, "tune", file->tune, &file->tune_count);
    if (status == STATUS_OK) status = read_seeds(&reader, &file->seeds);
    yaml_close(yaml);
    return status;
}
