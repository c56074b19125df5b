#include "bench/beside.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench/format.h"

bool place_is_mixed(const Place *place) {
    int64_t labels[BREAKDOWN_POSITIONS];
    return study_labels(place->row, labels) > 0;
}

int64_t place_setting(const Place *place, const char *key) {
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
} special[] = {{"pathfinder", "size", "128", "pathx"}};

/* Sizes that a benchmark fixes. ours: what we made up has no published points. */
static const struct {
    const char *task, *key, *published, *ours;
} fixed[] = {{"listops", "longest", "2000", ""}, {"pathfinder", "difficulty", "hard", "toy"}};

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
    facts[0] = (Fact){"width", point->facts.width, 0, false};
    facts[1] = (Fact){"length", point->facts.length, 2, false};
    facts[2] = (Fact){"pairs", point->facts.pairs, 0, true};
    facts[3] = (Fact){"vocabulary", point->facts.vocabulary, 0, false};
}

bool fact_agrees(const Fact *fact, const Place *place) {
    const int64_t ours = place_setting(place, fact->key);
    return ours >= fact->stated && ours <= fact->stated + fact->slack;
}

/* Settings whose values papers put behind the name of an architecture: xLSTM[1:0]. */
static const struct { const char *model, *key; } bracketed[] = {{"xlstm", "blocks"}};

bool row_is_variant(const Row *row, const char *variant) {
    if (!*variant) return true;
    for (size_t i = 0; i < sizeof bracketed / sizeof *bracketed; i++)
        if (!strcmp(row->model, bracketed[i].model))
            return !strcmp(study_value(row->seeds[0], bracketed[i].key), variant);
    return false;
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

/* Is the point about what the row measured, at the sizes that its source states? */
static bool is_same(const PublishedPoint *point, const Row *row, const Study *study) {
    const Record *record = row->seeds[0];
    const Place place = {.row = row};
    char problem[48];
    row_problem(row, problem);
    if (strcmp(row->model, point->model) != 0 || !row_is_variant(row, point->variant) ||
        strcmp(problem, point->task) != 0 || strcmp(record->metric, point->metric) != 0 ||
        point->test_length || point->state_bytes > 0 || place_is_mixed(&place))
        return false;
    if (*point->unit && strcmp(point->unit, study_value(record, "unit")) != 0) return false;
    size_t at = 0;
    Difference difference;
    if (row_differs(row, &at, &difference)) return false;
    Fact facts[FACTS + 1];
    facts_of(point, facts);
    facts[FACTS] = (Fact){"layers", point->facts.layers, 0, false};
    bool states = false;
    for (int i = 0; i <= FACTS; i++) {
        if (!facts[i].stated) continue;
        if (!fact_agrees(&facts[i], &place)) return false;
        states |= i < FACTS;
    }
    return states || !strcmp(study->preset, "paper");
}

void published_beside_rows(Summary *summary, const Study *study, const Published *published) {
    for (int r = 0; r < summary->count; r++) {
        Row *row = &summary->rows[r];
        for (int i = 0; row->seeds && i < published->count; i++) {
            const PublishedPoint *point = &published->points[i];
            if (!is_same(point, row, study)) continue;
            char value[24];
            format_number(!strcmp(point->metric, "accuracy") ? NUMBER_SHARE : NUMBER_PLAIN,
                          point_value(point, row), value, sizeof value);
            row_add_published(row, point->failed ? "failed" : value, point->citation);
        }
    }
}
