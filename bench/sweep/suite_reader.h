/* The inside of the reader of suite files: what bench/sweep/suite_file.c and
 * bench/sweep/suite_models.c share.
 */
#ifndef LONGHAUL_SUITE_READER_H
#define LONGHAUL_SUITE_READER_H

#include "bench/common/yaml.h"
#include "bench/sweep/suite_file.h"

/* What is read from; errors go to `error`. */
typedef struct Reader {
    const Yaml *yaml;
    const YamlNode *root, *preset;
    Error *error;
} Reader;

/* The i-th pair of a map, as a map of its own. */
YamlNode reader_pair(const YamlNode *map, int i);

/* Settings for every cell; seeds and models have keys of their own. `map` may be NULL. */
Status reader_settings(const Reader *reader, const YamlNode *map, const char *what,
                       Settings *settings);

/* The lists `models` and the maps `model`: fills models and names of *file with those that the
 * request lets through. */
Status reader_models(const Reader *reader, const SuiteRequest *request, SuiteFile *file);

/* Is it an architecture, or does the file give the name to a kind of one? */
bool reader_knows_model(const Reader *reader, const char *name);

#endif
