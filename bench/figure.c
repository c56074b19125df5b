#include "bench/figure.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool values_differ(const Summary *summary, int axis) {
    for (int r = 1; r < summary->count; r++) {
        if (strcmp(summary->rows[r].values[axis], summary->rows[0].values[axis]) != 0) return true;
    }
    return false;
}

static bool values_are_numbers(const Summary *summary, int axis) {
    for (int r = 0; r < summary->count; r++) {
        char *end;
        strtod(summary->rows[r].values[axis], &end);
        if (end == summary->rows[r].values[axis] || *end) return false;
    }
    return true;
}

/* The axis that lies along x: width where the suite has it (and, if it must, its values differ),
 * else the first whose values are different numbers, else the last. -1: there is no axis. */
static int axis_along_x(const Study *study, const Summary *summary, bool must_differ) {
    for (int a = 0; a < study->axis_count; a++) {
        if (strcmp(study->axes[a], "width") != 0) continue;
        if (!must_differ || values_differ(summary, a)) return a;
    }
    for (int a = 0; a < study->axis_count; a++) {
        if (values_are_numbers(summary, a) && values_differ(summary, a)) return a;
    }
    return study->axis_count - 1;
}

/* True when the value along x decides the value of the other axis (pairs that grow with length). */
static bool tied_to_x(const Summary *summary, int x_axis, int axis) {
    bool differ = false;
    for (int r = 0; r < summary->count; r++) {
        for (int q = 0; q < r; q++) {
            const Row *a = &summary->rows[r], *b = &summary->rows[q];
            const bool same = !strcmp(a->values[axis], b->values[axis]);
            if (!same && !strcmp(a->values[x_axis], b->values[x_axis])) return false;
            differ |= !same;
        }
    }
    return differ;
}

/* "length 64, pairs 4": the case of a row without what lies along x. */
static void panel_title(const Study *study, const Summary *summary, const Row *row, int x_axis,
                        char title[128]) {
    title[0] = 0;
    for (int a = 0; a < study->axis_count; a++) {
        if (x_axis >= 0 && (a == x_axis || tied_to_x(summary, x_axis, a))) continue;
        const size_t used = strlen(title);
        snprintf(title + used, 128 - used, "%s%s %s", used ? ", " : "", study->axes[a],
                 row->values[a]);
    }
}

static Panel *panel_of(Chart *chart, const char *title) {
    for (int p = 0; p < chart->count; p++) {
        if (!strcmp(chart->panels[p].title, title)) return &chart->panels[p];
    }
    return chart_add_panel(chart, title);
}

static Series *series_of(Panel *panel, const char *model, SeriesKind kind) {
    for (int s = 0; s < panel->count; s++) {
        Series *series = &panel->series[s];
        if (series->kind == kind && !strcmp(series->model, model)) return series;
    }
    return panel_add_series(panel, model, kind);
}

static int by_x(const void *a, const void *b) {
    const ChartPoint *p = a, *q = b;
    return (p->x > q->x) - (p->x < q->x);
}

/* Rows come best first; lines go from left to right. */
static void sort_points(Chart *chart) {
    for (int p = 0; p < chart->count; p++) {
        for (int s = 0; s < chart->panels[p].count; s++) {
            Series *series = &chart->panels[p].series[s];
            qsort(series->points, (size_t)series->count, sizeof *series->points, by_x);
        }
    }
}

static void metric_axis(const Study *study, Axis *axis) {
    snprintf(axis->label, sizeof axis->label, "%s", study->metric);
    axis->low = axis->high = NAN;
    if (!strcmp(study->metric, "accuracy")) {
        axis->low = 0;
        axis->high = 1;
    }
}

/* Half a step of room on both sides of the values along a logarithmic x axis. */
static void case_axis(const Study *study, const Summary *summary, int x_axis, Axis *axis) {
    snprintf(axis->label, sizeof axis->label, "%s", x_axis < 0 ? "" : study->axes[x_axis]);
    axis->base = 2;
    axis->low = INFINITY;
    axis->high = 0;
    for (int r = 0; r < summary->count && x_axis >= 0; r++) {
        const double x = atof(summary->rows[r].values[x_axis]);
        axis->low = fmin(axis->low, x / 1.35);
        axis->high = fmax(axis->high, x * 1.35);
    }
    if (!(axis->low > 0)) axis->base = 0;
    if (x_axis < 0) axis->low = axis->high = NAN;
}

/* Value of a numeric setting of the row, 0 when it has none. */
static int64_t setting_of(const Row *row, const char *key) {
    return strtoll(study_value(row->seeds[0], key), NULL, 10);
}

/* A published point stands for a row's setting when it states the same width, length and pairs; one
 * at another width still belongs on a width axis. */
static bool same_setting(const PublishedPoint *point, const Row *row, bool width_on_x) {
    return point->facts.width && point->facts.length == setting_of(row, "length") &&
           point->facts.pairs == setting_of(row, "pairs") &&
           (width_on_x || point->facts.width == setting_of(row, "width"));
}

static bool has_model(const Summary *summary, const char *model) {
    for (int r = 0; r < summary->count; r++) {
        if (!strcmp(summary->rows[r].model, model)) return true;
    }
    return false;
}

/* The citation, and what is not the same there as here. */
static void add_source(Chart *chart, const PublishedPoint *point, const Row *row) {
    if (strstr(chart->sources, point->citation)) return;
    const int64_t theirs = point->facts.vocabulary, ours = setting_of(row, "vocabulary");
    char difference[64] = "";
    if (theirs && ours && theirs != ours) {
        snprintf(difference, sizeof difference, " (vocabulary %" PRId64 ", here %" PRId64 ")",
                 theirs, ours);
    }
    const size_t used = strlen(chart->sources);
    snprintf(chart->sources + used, sizeof chart->sources - used, "%s%s%s", used ? "; " : "",
             point->citation, difference);
}

/* Dotted points of the models that were measured, each in the panel of its setting. */
static void add_published(const Study *study, const Summary *summary, const Published *published,
                          int x_axis, Chart *chart) {
    const bool width_on_x = !strcmp(study->axes[x_axis], "width");
    if (!width_on_x && strcmp(study->axes[x_axis], "length") != 0) return;
    for (int i = 0; i < published->count; i++) {
        const PublishedPoint *point = &published->points[i];
        int r = 0;
        while (r < summary->count && !same_setting(point, &summary->rows[r], width_on_x)) r++;
        if (r == summary->count || !has_model(summary, point->model)) continue;
        const double x = (double)(width_on_x ? point->facts.width : point->facts.length);
        char title[128];
        panel_title(study, summary, &summary->rows[r], x_axis, title);
        series_add_point(series_of(panel_of(chart, title), point->model, SERIES_PUBLISHED),
                         (ChartPoint){x, point->accuracy, NAN, NAN});
        chart->x.low = fmin(chart->x.low, x / 1.35);
        chart->x.high = fmax(chart->x.high, x * 1.35);
        add_source(chart, point, &summary->rows[r]);
    }
}

static void accuracy(const Study *study, const Summary *summary, const Published *published,
                     Chart *chart) {
    const int x_axis = axis_along_x(study, summary, false);
    metric_axis(study, &chart->y);
    case_axis(study, summary, x_axis, &chart->x);
    if (study->chance >= 0.01) chart->chance = study->chance;
    for (int r = 0; r < summary->count; r++) {
        const Row *row = &summary->rows[r];
        const double x = x_axis < 0 ? 1 : atof(row->values[x_axis]);
        char title[128];
        panel_title(study, summary, row, x_axis, title);
        Panel *panel = panel_of(chart, title);
        if (row->seed_count > 1) {
            Series *seeds = series_of(panel, row->model, SERIES_SEEDS);
            for (int i = 0; i < row->seed_count; i++) {
                series_add_point(seeds, (ChartPoint){x, row->metrics[i], NAN, NAN});
            }
        }
        series_add_point(series_of(panel, row->model, SERIES_MEAN),
                         (ChartPoint){x, row->mean, row->interval.low, row->interval.high});
    }
    if (x_axis >= 0 && !strcmp(study->metric, "accuracy")) {
        add_published(study, summary, published, x_axis, chart);
    }
    sort_points(chart);
}

static const char *const units[] = {"", "k", "M", "G", "T", "P", "E"};
enum { UNITS = sizeof units / sizeof *units };

/* One seed's validations; its last point carries an interval of no width, which marks the end. */
static void add_curve(Panel *panel, const Row *row, const Result *result, double unit) {
    if (result->curve_count == 0) return;
    Series *curve = panel_add_series(panel, row->model, SERIES_CURVE);
    for (int k = 0; k < result->curve_count; k++) {
        const CurvePoint *point = &result->curve[k];
        const double y = point->validation_metric, end = k + 1 < result->curve_count ? NAN : y;
        series_add_point(curve, (ChartPoint){point->flops / unit, y, end, end});
    }
}

static void learning(const Study *study, const Summary *summary, const Published *published,
                     Chart *chart) {
    (void)published;
    metric_axis(study, &chart->y);
    snprintf(chart->y.label, sizeof chart->y.label, "validation %.40s", study->metric);
    double most = 0;
    for (int r = 0; r < summary->count; r++) {
        for (int i = 0; i < summary->rows[r].seed_count; i++) {
            most = fmax(most, summary->rows[r].seeds[i]->result.flops);
        }
    }
    int unit = 0;
    while (most >= 1000 && unit < UNITS - 1) {
        most /= 1000;
        unit++;
    }
    snprintf(chart->x.label, sizeof chart->x.label, "training compute (%sFLOP)", units[unit]);
    chart->x.low = 0;
    chart->x.high = most * 1.04;
    for (int r = 0; r < summary->count; r++) {
        const Row *row = &summary->rows[r];
        char title[128];
        panel_title(study, summary, row, -1, title);
        Panel *panel = panel_of(chart, title);
        for (int i = 0; i < row->seed_count; i++) {
            add_curve(panel, row, &row->seeds[i]->result, pow(1000, unit));
        }
    }
}

static void seconds(const Study *study, const Summary *summary, const Published *published,
                    Chart *chart) {
    (void)published;
    const int x_axis = axis_along_x(study, summary, true);
    case_axis(study, summary, x_axis, &chart->x);
    chart->y = (Axis){.label = "seconds a cell", .base = 10, .low = NAN, .high = NAN};
    for (int r = 0; r < summary->count; r++) {
        const Row *row = &summary->rows[r];
        const double x = x_axis < 0 ? 1 : atof(row->values[x_axis]);
        char title[128];
        panel_title(study, summary, row, x_axis, title);
        Panel *panel = panel_of(chart, title);
        for (int i = 0; i < row->seed_count && row->seed_count > 1; i++) {
            series_add_point(series_of(panel, row->model, SERIES_SEEDS),
                             (ChartPoint){x, row->seeds[i]->result.wall_seconds, NAN, NAN});
        }
        series_add_point(series_of(panel, row->model, SERIES_MEAN),
                         (ChartPoint){x, row->wall_seconds, NAN, NAN});
    }
    sort_points(chart);
    chart_share_range(chart, true, &chart->y);
}

/* Perplexity in groups of tokens, all seeds of a row together. zero: where group 0 stands on the
 * logarithmic axis, and how far the others are moved: 1, or, for counts, which stay, 0.5. */
static void add_groups(const Study *study, const Summary *summary, Chart *chart, size_t offset,
                       int most, double zero) {
    chart->y = (Axis){.label = "perplexity", .base = 10, .low = NAN, .high = NAN};
    chart->x.low = INFINITY;
    for (int r = 0; r < summary->count; r++) {
        const Row *row = &summary->rows[r];
        char title[128];
        panel_title(study, summary, row, -1, title);
        for (int g = 0; g < most; g++) {
            double labels = 0, nats = 0, from = 0;
            for (int i = 0; i < row->seed_count; i++) {
                const LossGroup *groups =
                    (const LossGroup *)((const char *)&row->seeds[i]->result.test + offset);
                labels += groups[g].labels;
                nats += groups[g].nats;
                from = fmax(from, (double)groups[g].from);
            }
            if (labels == 0) continue;
            const double x = zero < 1 ? fmax(from, zero) : from + zero;
            series_add_point(series_of(panel_of(chart, title), row->model, SERIES_MEAN),
                             (ChartPoint){x, exp(nats / labels), NAN, NAN});
            chart->x.low = fmin(chart->x.low, x / 1.35);
            chart->x.high = fmax(chart->x.high, x * 1.35);
        }
    }
    sort_points(chart);
    chart_share_range(chart, true, &chart->y);
}

static void by_position(const Study *study, const Summary *summary, const Published *published,
                        Chart *chart) {
    (void)published;
    chart->x = (Axis){.label = "tokens of the window seen", .base = 2};
    add_groups(study, summary, chart, offsetof(Breakdown, positions), BREAKDOWN_POSITIONS, 1);
}

static void by_frequency(const Study *study, const Summary *summary, const Published *published,
                         Chart *chart) {
    (void)published;
    chart->x = (Axis){.label = "times in the training text (0 at 0.5)", .base = 10};
    add_groups(study, summary, chart, offsetof(Breakdown, frequencies), BREAKDOWN_FREQUENCIES, 0.5);
}

static const Figure figures[] = {
    {"accuracy", "Accuracy against width, a panel for each length", accuracy},
    {"frequency", "Test perplexity against how often a token came in training", by_frequency},
    {"learning", "Validation accuracy against training FLOPs", learning},
    {"position", "Test perplexity against the tokens seen before", by_position},
    {"seconds", "Seconds a cell", seconds},
};

const Figure *figure_list(int *count) {
    *count = sizeof figures / sizeof *figures;
    return figures;
}

Chart figure_chart(const Figure *figure, const Study *study, const Summary *summary,
                   const Published *published) {
    Chart chart = {.chance = NAN};
    snprintf(chart.name, sizeof chart.name, "%s", figure->name);
    snprintf(chart.title, sizeof chart.title, "%s", figure->title);
    int most = 0;
    for (int r = 0; r < summary->count; r++) {
        if (summary->rows[r].seed_count > most) most = summary->rows[r].seed_count;
    }
    snprintf(chart.note, sizeof chart.note, "%s v%d, preset %s, budget %s a cell, %d seed%s",
             study->task, study->task_version, study->preset,
             study->count ? study_value(&study->records[0], "budget") : "-", most,
             most == 1 ? "" : "s");
    figure->build(study, summary, published, &chart);
    return chart;
}
