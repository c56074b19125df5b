#include "bench/overlay.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What a point may stand beside: a row, or its test samples of so many labels (0: all of them). */
typedef struct Place {
    const Row *row;
    int64_t labels;
} Place;

/* Was the place's model trained and tested on several problems at once? */
static bool is_mixed(const Place *place) {
    int64_t labels[BREAKDOWN_POSITIONS];
    return study_labels(place->row, labels) > 0;
}

/* Value of a numeric setting of the place, 0 when it has none. A mixture has no one length, and as
 * many pairs as labels. */
static int64_t setting_of(const Place *place, const char *key) {
    if (is_mixed(place)) {
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

/* Sizes that a benchmark fixes, so that its sources do not state them. ours: what we made up has no
 * published points. */
static const struct {
    const char *task, *key, *published, *ours;
} fixed[] = {{"listops", "longest", "2000", ""}, {"pathfinder", "difficulty", "hard", "toy"}};

void overlay_problem(const Row *row, char name[48]) {
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
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++) {
        if (!strcmp(record->task, fixed[i].task) &&
            !strcmp(study_value(record, fixed[i].key), fixed[i].ours))
            name[0] = '\0';
    }
}

/* A number that a source can state, and the setting it stands for. Sources count a length without
 * the tokens that ask or answer: up to two fewer. */
typedef struct Fact {
    const char *key;
    int64_t stated, slack;
    bool strict; /* must agree even where the suite does not vary it */
} Fact;

enum { FACTS = 4 };

static void facts_of(const PublishedPoint *point, Fact facts[FACTS]) {
    facts[0] = (Fact){"width", point->facts.width, 0, false};
    facts[1] = (Fact){"length", point->facts.length, 2, false};
    facts[2] = (Fact){"pairs", point->facts.pairs, 0, true};
    facts[3] = (Fact){"vocabulary", point->facts.vocabulary, 0, false};
}

static bool is_axis(const Layout *layout, const char *key) {
    for (int a = 0; a < layout->study->axis_count; a++) {
        if (!strcmp(layout->study->axes[a], key)) return true;
    }
    return false;
}

static bool on_x(const Layout *layout, const char *key) {
    return layout->axis >= 0 && !strcmp(layout->study->axes[layout->axis], key);
}

static bool agrees(const Fact *fact, const Place *place) {
    const int64_t ours = setting_of(place, fact->key);
    return ours >= fact->stated && ours <= fact->stated + fact->slack;
}

/* Settings whose values papers put behind the name of an architecture: xLSTM[1:0]. */
static const struct { const char *model, *key; } bracketed[] = {{"xlstm", "blocks"}};

static bool is_variant(const Row *row, const char *variant) {
    if (!*variant) return true;
    for (size_t i = 0; i < sizeof bracketed / sizeof *bracketed; i++)
        if (!strcmp(row->model, bracketed[i].model))
            return !strcmp(study_value(row->seeds[0], bracketed[i].key), variant);
    return false;
}

/* Was the point's architecture measured, in the variant that its source names? */
static bool has_model(const Layout *layout, const PublishedPoint *point) {
    for (int i = 0; i < layout->summary->count; i++) {
        const Row *row = &layout->summary->rows[i];
        if (!strcmp(row->model, point->model) && is_variant(row, point->variant)) return true;
    }
    return false;
}

/* True when the point can stand there; *x: its number on a numeric x axis. */
static bool belongs(const Layout *layout, const PublishedPoint *point, const Place *place,
                    double *x) {
    const Row *row = place->row;
    char name[48];
    overlay_problem(row, name);
    const Record *record = row->seeds[0];
    if (strcmp(name, point->task) != 0 || strcmp(record->metric, point->metric) != 0) return false;
    if (*point->unit && strcmp(point->unit, study_value(record, "unit")) != 0) return false;
    Fact facts[FACTS];
    facts_of(point, facts);
    bool placed = layout->words;
    for (int i = 0; i < FACTS; i++) {
        const bool same = agrees(&facts[i], place);
        if (on_x(layout, facts[i].key)) { /* a curve goes on beyond what was measured */
            placed = facts[i].stated > 0;
            *x = same ? atof(row->values[layout->axis]) : (double)facts[i].stated;
        } else if ((facts[i].strict || is_axis(layout, facts[i].key)) && !same) {
            return false;
        }
    }
    return placed;
}

enum { DIFFERENCES = 160 };

/* "(vocabulary 8192, here 256)", or "". */
static void differences(const PublishedPoint *point, const Place *place, const Layout *layout,
                        char text[DIFFERENCES]) {
    const Row *row = place->row;
    Fact facts[FACTS];
    facts_of(point, facts);
    text[0] = 0;
    for (int i = 0; i < FACTS; i++) {
        if (!facts[i].stated || !setting_of(place, facts[i].key) || agrees(&facts[i], place) ||
            on_x(layout, facts[i].key))
            continue;
        const size_t used = strlen(text);
        snprintf(text + used, DIFFERENCES - used, "%s%s %" PRId64 ", here %" PRId64,
                 used ? "; " : " (", facts[i].key, facts[i].stated,
                 setting_of(place, facts[i].key));
    }
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++) {
        const char *here = study_value(row->seeds[0], fixed[i].key);
        const size_t used = strlen(text);
        if (strcmp(row->seeds[0]->task, fixed[i].task) != 0 || !strcmp(here, fixed[i].published))
            continue;
        snprintf(text + used, DIFFERENCES - used, "%s%s %s, here %s", used ? "; " : " (",
                 fixed[i].key, fixed[i].published, here);
    }
    if (is_mixed(place)) {
        const size_t used = strlen(text);
        snprintf(text + used, DIFFERENCES - used,
                 "%sa model for each number of pairs, here for all", used ? "; " : " (");
    }
    if (point->uncertain) {
        const size_t used = strlen(text);
        snprintf(text + used, DIFFERENCES - used, "%swhose row is whose is uncertain",
                 used ? "; " : " (");
    }
    if (*text) snprintf(text + strlen(text), DIFFERENCES - strlen(text), ")");
}

/* What a citation adds to the sources: the whole, or, of a paper that is named already, ", Table
 * 2"; NULL for nothing. */
static const char *new_citation(const Chart *chart, const char *citation) {
    enum { NUMBER = sizeof "arXiv 2312.04927" - 1 };
    if (strstr(chart->sources, citation)) return NULL;
    const char *number = strstr(citation, "arXiv ");
    char text[NUMBER + 1];
    if (!number || strlen(number) < NUMBER) return citation;
    snprintf(text, sizeof text, "%s", number);
    if (!strstr(chart->sources, text)) return citation;
    const char *more = number + NUMBER + strspn(number + NUMBER, ", ");
    return *more && !strstr(chart->sources, more) ? more : NULL;
}

static void add_source(const Layout *layout, Chart *chart, const PublishedPoint *point,
                       const Place *place) {
    const char *citation = new_citation(chart, point->citation);
    if (!citation) return;
    char difference[DIFFERENCES];
    differences(point, place, layout, difference);
    const size_t used = strlen(chart->sources);
    const int wrote = snprintf(chart->sources + used, sizeof chart->sources - used, "%s%s%s",
                               used ? "; " : "", citation, difference);
    /* What has no room is cut off whole. */
    if (used + (size_t)wrote >= sizeof chart->sources) chart->sources[used] = '\0';
}

/* The source's value on the scale of the row. */
static double value_of(const PublishedPoint *point, const Row *row) {
    const double chance = row->seeds[0]->chance;
    return point->scaled ? chance + point->value * (1 - chance) : point->value;
}

/* How far what a point states is from the row, in logarithms; what lies along x does not count. */
static double distance(const Layout *layout, const PublishedPoint *point, const Place *place) {
    Fact facts[FACTS];
    facts_of(point, facts);
    double sum = 0;
    for (int i = 0; i < FACTS; i++) {
        const int64_t ours = setting_of(place, facts[i].key);
        if (!ours || !facts[i].stated || on_x(layout, facts[i].key)) continue;
        if (!agrees(&facts[i], place)) sum += fabs(log((double)facts[i].stated / (double)ours));
    }
    return sum;
}

/* Sources that state the same for several widths or lengths, where the suite has one: the nearest
 * stands for them. */
static bool is_nearest(const Layout *layout, const Published *published,
                       const PublishedPoint *point, const Place *place, double x) {
    for (int i = 0; i < published->count; i++) {
        const PublishedPoint *other = &published->points[i];
        double there = 0;
        if (strcmp(other->model, point->model) != 0 || other->test_length ||
            strcmp(other->variant, point->variant) != 0 ||
            strcmp(other->citation, point->citation) != 0 ||
            !belongs(layout, other, place, &there) || there != x)
            continue;
        if (distance(layout, other, place) < distance(layout, point, place)) return false;
    }
    return true;
}

static void add_point(const Layout *layout, const PublishedPoint *point, const Place *place,
                      double x, Chart *chart) {
    Panel *panel = layout_labels_panel(layout, layout->study, place->row, place->labels, chart);
    const SeriesKind kind = layout->words ? SERIES_OPEN : SERIES_PUBLISHED;
    series_add_point(layout_series(panel, point->model, kind),
                     (ChartPoint){x, value_of(point, place->row), NAN, NAN});
    add_source(layout, chart, point, place);
    if (layout->words) return;
    chart->x.low = fmin(chart->x.low, x / 1.35);
    chart->x.high = fmax(chart->x.high, x * 1.35);
}

/* Adds the point where it belongs there; true when nothing else need be tried. */
static bool try_point(const Layout *layout, const Published *published, const PublishedPoint *point,
                      const Place *place, Chart *chart) {
    double x = 0;
    if (!belongs(layout, point, place, &x)) return false;
    if (is_nearest(layout, published, point, place, x))
        add_point(layout, point, place, layout_x_of(layout, place->row, point->model, x), chart);
    return true;
}

void overlay_metric(const Layout *layout, const Published *published, Chart *chart) {
    for (int i = 0; i < published->count; i++) {
        const PublishedPoint *point = &published->points[i];
        if (point->failed || point->test_length || !has_model(layout, point)) continue;
        for (int r = 0; r < layout->summary->count; r++)
            if (try_point(layout, published, point, &(Place){.row = &layout->summary->rows[r]},
                          chart))
                break;
    }
}

void overlay_labels(const Layout *layout, const Published *published, Chart *chart) {
    for (int i = 0; i < published->count; i++) {
        const PublishedPoint *point = &published->points[i];
        bool done = point->failed || point->test_length || !has_model(layout, point);
        for (int r = 0; r < layout->summary->count && !done; r++) {
            int64_t labels[BREAKDOWN_POSITIONS];
            Place place = {.row = &layout->summary->rows[r]};
            const int count = study_labels(place.row, labels);
            for (int k = 0; k < count && !done; k++) {
                place.labels = labels[k];
                done = try_point(layout, published, point, &place, chart);
            }
        }
    }
}

void overlay_lengths(const Layout *layout, const Published *published, Chart *chart) {
    for (int i = 0; i < published->count; i++) {
        const PublishedPoint *point = &published->points[i];
        const double x = (double)point->test_length;
        if (point->failed || x == 0 || !has_model(layout, point)) continue;
        if (x < chart->x.low || x > chart->x.high) continue;
        for (int r = 0; r < layout->summary->count; r++) {
            const Row *row = &layout->summary->rows[r];
            char name[48];
            overlay_problem(row, name);
            if (strcmp(name, point->task) != 0) continue;
            Panel *panel = layout_panel(NULL, layout->study, row, chart);
            series_add_point(layout_series(panel, point->model, SERIES_PUBLISHED),
                             (ChartPoint){x, point->value, NAN, NAN});
            add_source(layout, chart, point, &(Place){.row = row});
            break;
        }
    }
}
