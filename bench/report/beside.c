#include "bench/report/beside.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/common/format.h"
#include "models/model.h"

bool place_is_mixed(const Place *place) {
    int64_t labels[BREAKDOWN_POSITIONS];
    return study_labels(place->row, labels) > 0;
}

int64_t place_setting(const Place *place, const char *key) {
    if (!strcmp(key, "parameters")) return (int64_t)place->row->parameters;
    if (place_is_mixed(place)) {
        if (!strcmp(key, "length")) return 0;
        if (!strcmp(key, "pairs")) return place->labels;
    }
    return strtoll(study_value(place->row->seeds[0], key), NULL, 10);
}

/* Settings that say which of a task's problems a row is, so that papers have a name for it. */
static const char *const variants[] = {"language", "skill", "corpus"};

/* Problems that have a name of their own. */
static const struct {
    const char *task, *key, *value, *name;
} special[] = {{"pathfinder", "size", "64", "path64"},
               {"pathfinder", "size", "128", "pathx"},
               {"pathfinder", "size", "256", "path256"},
               {"image", "colour", "rgb", "rgbimage"}};

/* Settings that a benchmark fixes. ours: what we made up has no published points. */
static const struct {
    const char *task, *key, *published, *ours;
} fixed[] = {{"listops", "longest", "2000", ""},
             {"pathfinder", "difficulty", "hard", "toy"},
             {"copy", "direction", "reverse", "forward"},
             {"lm", "test", "own", "validation"}};

enum { FIXED = sizeof fixed / sizeof *fixed };

void row_problem(const Row *row, char name[48]) {
    const Record *record = row->seeds[0];
    published_name(record->task, name);
    for (size_t i = 0; i < sizeof variants / sizeof *variants; i++) {
        const char *value = study_value(record, variants[i]);
        if (*value) published_name(value, name);
    }
    for (size_t i = 0; i < sizeof special / sizeof *special; i++) {
        if (!strcmp(record->task, special[i].task) &&
            !strcmp(study_value(record, special[i].key), special[i].value))
            snprintf(name, 48, "%s", special[i].name);
    }
    for (size_t i = 0; i < FIXED; i++) {
        if (!strcmp(record->task, fixed[i].task) &&
            !strcmp(study_value(record, fixed[i].key), fixed[i].ours))
            name[0] = '\0';
    }
    /* Trained at one length and tested at another: papers' numbers are of one length. */
    const int64_t tested = strtoll(study_value(record, "test_length"), NULL, 10);
    if (tested > 0 && tested != strtoll(study_value(record, "length"), NULL, 10)) name[0] = '\0';
}

bool row_differs(const Row *row, size_t *at, Difference *difference) {
    for (; *at < FIXED; ++*at) {
        const char *here = study_value(row->seeds[0], fixed[*at].key);
        if (strcmp(row->seeds[0]->task, fixed[*at].task) != 0 ||
            !strcmp(here, fixed[*at].published))
            continue;
        *difference = (Difference){fixed[*at].key, fixed[*at].published, here};
        ++*at;
        return true;
    }
    return false;
}

void facts_of(const PublishedPoint *point, Fact facts[FACTS]) {
    static const Fact of_ours[FACTS] = {
        [FACT_WIDTH] = {.key = "width"},
        [FACT_LAYERS] = {.key = "layers"},
        [FACT_LENGTH] = {.key = "length"},
        [FACT_PAIRS] = {.key = "pairs", .strict = true},
        [FACT_VOCABULARY] = {.key = "vocabulary"},
        [FACT_SYMBOLS] = {.key = "symbols"},
        [FACT_ALPHABET] = {.key = "alphabet"},
        [FACT_LATENTS] = {.key = "latents", .own = true},
        [FACT_PARAMETERS] = {.key = "parameters", .own = true},
    };
    memcpy(facts, of_ours, sizeof of_ours);
    for (int i = 0; i < FACTS; i++) facts[i].size = point->facts[i];
}

bool fact_agrees(const Fact *fact, const Place *place) {
    const int64_t ours = place_setting(place, fact->key);
    return ours >= fact->size.least && ours <= fact->size.most;
}

/* A run from before the option came has what is its default now. */
static const char *value_of(const Row *row, const char *key) {
    const char *value = study_value(row->seeds[0], key);
    const Model *model = *value ? NULL : model_find(row->model);
    const Option *option = model ? option_find(&model->options, key) : NULL;
    return option ? option->standard : value;
}

/* "init=legs", "filter=network filter_window=no"; words in brackets are a variant that ours cannot
 * be. */
static bool meets(const Row *row, const char *needs) {
    if (*needs == '[') return false;
    char text[PUBLISHED_NEEDS], *rest = text;
    snprintf(text, sizeof text, "%s", needs);
    for (char *word; (word = strtok_r(rest, " ", &rest));) {
        char *equals = strchr(word, '=');
        assert(equals);
        *equals = '\0';
        if (strcmp(value_of(row, word), equals + 1) != 0) return false;
    }
    return true;
}

bool row_is_model(const Row *row, const PublishedPoint *point) {
    if (strcmp(row->model, point->model) != 0 || !meets(row, point->needs)) return false;
    if (point->reading == READS_UNSTATED) return true;
    char problem[48];
    row_problem(row, problem);
    return !strcmp(problem, point->task) && row->sees_ahead == (point->reading == READS_BOTH_WAYS);
}

double point_value(const PublishedPoint *point, const Row *row) {
    const double chance = row->seeds[0]->chance;
    return point->scaled ? chance + point->value * (1 - chance) : point->value;
}

/* ---- the column of the table ---- */

/* Is it one of the values, and not a part of another one or of a citation? */
static bool has_value(const char *published, const char *value) {
    for (const char *at = published; (at = strstr(at, value)); at++)
        if ((at == published || at[-1] == ' ') && at[strlen(value)] == ' ') return true;
    return false;
}

void row_add_published(Row *row, const char *value, const char *citation) {
    enum { NUMBER = sizeof "arXiv 2011.04006" - 1 };
    const char *number = strstr(citation, "arXiv ");
    const size_t used = strlen(row->published);
    char one[160];
    if (has_value(row->published, value)) return;
    snprintf(one, sizeof one, "%s%s (%.*s)", used ? ", " : "", value,
             number ? (int)NUMBER : (int)strlen(citation), number ? number : citation);
    if (used + strlen(one) < sizeof row->published) strcpy(row->published + used, one);
}

bool point_is_beside(const PublishedPoint *point, const Row *row, const Study *study) {
    const Record *record = row->seeds[0];
    const Place place = {.row = row};
    char problem[48];
    row_problem(row, problem);
    if (!row_is_model(row, point) || strcmp(problem, point->task) != 0 ||
        strcmp(record->metric, point->metric) != 0 || point->test_length ||
        point->state_bytes > 0 || place_is_mixed(&place))
        return false;
    if (*point->unit && strcmp(point->unit, study_value(record, "unit")) != 0) return false;
    size_t at = 0;
    Difference difference;
    if (row_differs(row, &at, &difference)) return false;
    Fact facts[FACTS];
    facts_of(point, facts);
    bool states = false;
    for (int i = 0; i < FACTS; i++) {
        if (!facts[i].size.stated) continue;
        if (!fact_agrees(&facts[i], &place)) return false;
        states |= i != FACT_LAYERS;
    }
    return states || !strcmp(study->preset, "paper");
}

void published_beside_rows(Summary *summary, const Study *study, const Published *published) {
    for (int r = 0; r < summary->count; r++) {
        Row *row = &summary->rows[r];
        for (int i = 0; row->seeds && i < published->count; i++) {
            const PublishedPoint *point = &published->points[i];
            if (!point_is_beside(point, row, study)) continue;
            char value[24];
            format_number(!strcmp(point->metric, "accuracy") ? NUMBER_SHARE : NUMBER_PLAIN,
                          point_value(point, row), value, sizeof value);
            row_add_published(row, point->failed ? "failed" : value, point->citation);
        }
    }
}
