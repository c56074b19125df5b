#include "bench/report/overlay.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench/report/beside.h"

static bool is_axis(const Layout *layout, const char *key) {
    for (int a = 0; a < layout->study->axis_count; a++) {
        if (!strcmp(layout->study->axes[a], key)) return true;
    }
    return false;
}

static bool on_x(const Layout *layout, const char *key) {
    return layout->axis >= 0 && !strcmp(layout->study->axes[layout->axis], key);
}

/* The name under which the point's architecture was measured, in the variant that its source
 * names and seeing as much; NULL: it was not. Of several the architecture's own comes first: a
 * source that names no variant means that. */
static const char *name_of(const Layout *layout, const PublishedPoint *point) {
    const Row *best = NULL;
    for (int i = 0; i < layout->summary->count; i++) {
        const Row *row = &layout->summary->rows[i];
        if (!row_is_model(row, point)) continue;
        if (!strcmp(row->name, row->model)) return row->name;
        if (!best || row->slot < best->slot) best = row;
    }
    return best ? best->name : NULL;
}

static bool has_model(const Layout *layout, const PublishedPoint *point) {
    return name_of(layout, point) != NULL;
}

/* True when the point can stand there; *x: its number on a numeric x axis. */
static bool belongs(const Layout *layout, const PublishedPoint *point, const Place *place,
                    double *x) {
    const Row *row = place->row;
    char name[48];
    row_problem(row, name);
    const Record *record = row->seeds[0];
    if (strcmp(name, point->task) != 0 || strcmp(record->metric, point->metric) != 0) return false;
    if (*point->unit && strcmp(point->unit, study_value(record, "unit")) != 0) return false;
    Fact facts[FACTS];
    facts_of(point, facts);
    bool placed = layout->words;
    for (int i = 0; i < FACTS; i++) {
        const bool same = fact_agrees(&facts[i], place);
        if (on_x(layout, facts[i].key)) { /* a curve goes on beyond what was measured */
            placed = facts[i].size.stated > 0;
            *x = same ? atof(row->values[layout->axis]) : (double)facts[i].size.stated;
        } else if ((facts[i].strict || is_axis(layout, facts[i].key)) && !same) {
            return false;
        }
    }
    return placed;
}

/* Does the place have another size than the point states? What lies along x does not count, nor
 * what is an architecture's own where the row is of another one. */
static bool differs(const Layout *layout, const PublishedPoint *point, const Fact *fact,
                    const Place *place) {
    return fact->size.stated && place_setting(place, fact->key) && !fact_agrees(fact, place) &&
           !on_x(layout, fact->key) && (!fact->own || !strcmp(place->row->model, point->model));
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
        if (!differs(layout, point, &facts[i], place)) continue;
        const size_t used = strlen(text);
        const char *join = used ? "; " : " (";
        if (facts[i].own)
            snprintf(text + used, DIFFERENCES - used, "%sother %s", join, facts[i].key);
        else
            snprintf(text + used, DIFFERENCES - used, "%s%s %" PRId64 ", here %" PRId64, join,
                     facts[i].key, facts[i].size.stated, place_setting(place, facts[i].key));
    }
    Difference difference;
    for (size_t at = 0; row_differs(row, &at, &difference);) {
        const size_t used = strlen(text);
        snprintf(text + used, DIFFERENCES - used, "%s%s %s, here %s", used ? "; " : " (",
                 difference.key, difference.published, difference.here);
    }
    if (place_is_mixed(place)) {
        const size_t used = strlen(text);
        snprintf(text + used, DIFFERENCES - used, "%s%s", used ? "; " : " (",
                 point->state_bytes > 0 ? "a mixture of its own"
                                        : "a model for each number of pairs, here for all");
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

/* How far what a point states is from the row, in logarithms. */
static double distance(const Layout *layout, const PublishedPoint *point, const Place *place) {
    Fact facts[FACTS];
    facts_of(point, facts);
    double sum = 0;
    for (int i = 0; i < FACTS; i++)
        if (differs(layout, point, &facts[i], place))
            sum += fabs(
                log((double)facts[i].size.stated / (double)place_setting(place, facts[i].key)));
    return sum;
}

/* Sources that state the same for several widths or lengths, where the suite has one: the nearest
 * stands for them. */
static bool is_nearest(const Layout *layout, const Published *published,
                       const PublishedPoint *point, const Place *place, double x) {
    for (int i = 0; i < published->count; i++) {
        const PublishedPoint *other = &published->points[i];
        double there = 0;
        if (strcmp(other->theirs, point->theirs) != 0 || other->test_length ||
            strcmp(other->citation, point->citation) != 0 ||
            !belongs(layout, other, place, &there) || there != x)
            continue;
        if (distance(layout, other, place) < distance(layout, point, place)) return false;
    }
    return true;
}

/* Has a source the row's own problem, all that it states agreeing? */
static bool has_exact(const Layout *layout, const Published *published, const Place *place) {
    for (int i = 0; i < published->count; i++) {
        const PublishedPoint *point = &published->points[i];
        double x = 0;
        if (point->failed || point->test_length || !has_model(layout, point)) continue;
        if (belongs(layout, point, place, &x) && distance(layout, point, place) == 0) return true;
    }
    return false;
}

static void add_point(const Layout *layout, const PublishedPoint *point, const Place *place,
                      double x, Chart *chart) {
    Panel *panel = layout_labels_panel(layout, layout->study, place->row, place->labels, chart);
    const SeriesKind kind = layout->words ? SERIES_OPEN : SERIES_PUBLISHED;
    series_add_point(layout_series(panel, name_of(layout, point), kind),
                     (ChartPoint){x, point_value(point, place->row), NAN, NAN});
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
    const bool other = distance(layout, point, place) > 0 && has_exact(layout, published, place);
    if (!other && is_nearest(layout, published, point, place, x))
        add_point(layout, point, place, layout_x_of(layout, place->row, name_of(layout, point), x),
                  chart);
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

/* A mixture's problem in the sources' spelling: "MQAR mixture (as Based)". */
static bool same_mixture(const Row *row, const PublishedPoint *point) {
    char problem[48], mixture[64];
    row_problem(row, problem);
    snprintf(mixture, sizeof mixture, "%smixture", problem);
    return *problem && !strncmp(point->task, mixture, strlen(mixture)) &&
           place_is_mixed(&(Place){.row = row}) && !strcmp(point->metric, row->seeds[0]->metric);
}

void overlay_states(const Layout *layout, const Published *published, Chart *chart) {
    for (int i = 0; i < published->count; i++) {
        const PublishedPoint *point = &published->points[i];
        const double x = point->state_bytes;
        if (point->failed || !(x > 0) || !has_model(layout, point)) continue;
        for (int r = 0; r < layout->summary->count; r++) {
            const Row *row = &layout->summary->rows[r];
            if (!same_mixture(row, point)) continue;
            Panel *panel = layout_panel(layout, layout->study, row, chart);
            series_add_point(layout_series(panel, name_of(layout, point), SERIES_OPEN),
                             (ChartPoint){x, point_value(point, row), NAN, NAN});
            add_source(layout, chart, point, &(Place){.row = row});
            chart->x.low = fmin(chart->x.low, x / 1.35);
            chart->x.high = fmax(chart->x.high, x * 1.35);
            break;
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
            row_problem(row, name);
            if (strcmp(name, point->task) != 0) continue;
            Panel *panel = layout_panel(NULL, layout->study, row, chart);
            series_add_point(layout_series(panel, name_of(layout, point), SERIES_PUBLISHED),
                             (ChartPoint){x, point->value, NAN, NAN});
            add_source(layout, chart, point, &(Place){.row = row});
            break;
        }
    }
}
