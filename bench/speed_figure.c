#include "bench/speed_figure.h"

#include <math.h>
#include <string.h>

/* One panel of each width: a quantity of a row, in the unit of the axis. */
typedef struct Quantity {
    const char *title; /* of the panel; "" when the axis says it all */
    double (*value)(const SpeedRow *row);
    int published; /* SpeedMeasure, or -1 */
    double scale;  /* of published values, to the unit of the axis */
} Quantity;

static double train_token(const SpeedRow *row) {
    return 1e6 * speed_token_seconds(&row->speed, SPEED_TRAIN);
}

static double prefill_token(const SpeedRow *row) {
    return 1e6 * speed_token_seconds(&row->speed, SPEED_PREFILL);
}

static double decode_token(const SpeedRow *row) {
    return 1e6 * speed_token_seconds(&row->speed, SPEED_DECODE);
}

static double planned(const SpeedRow *row) {
    return (double)row->speed.bytes / 0x1p20;
}

static double state(const SpeedRow *row) {
    return row->speed.state_bytes ? (double)row->speed.state_bytes / 1024 : NAN;
}

enum { MOST_QUANTITIES = 3 };
static const struct {
    const char *name, *title, *axis;
    Quantity quantities[MOST_QUANTITIES];
} charts[SPEED_CHARTS] = {
    {"time",
     "Time of a token against length",
     "microseconds a token",
     {{"training", train_token, MEASURE_TRAIN_TOKEN, 1e6},
      {"prefill", prefill_token, -1, 0},
      {"decoding", decode_token, MEASURE_DECODE_TOKEN, 1e6}}},
    {"memory",
     "Memory of a training step against length",
     "MiB, training step",
     {{"", planned, MEASURE_MEMORY, 1 / 0x1p20}}},
    {"state",
     "State of one sequence while decoding, against length",
     "KiB, state of a sequence",
     {{"", state, -1, 0}}},
};

static bool several_widths(const SpeedReport *report) {
    for (int i = 1; i < report->count; i++)
        if (report->rows[i].width != report->rows[0].width) return true;
    return false;
}

static Series *series_of(Panel *panel, const char *model) {
    for (int s = 0; s < panel->count; s++)
        if (strcmp(panel->series[s].model, model) == 0) return &panel->series[s];
    return panel_add_series(panel, model, SERIES_MEAN);
}

/* Among the first series of the panel, which are our own. */
static bool has_model(const Panel *panel, int own, const char *model) {
    for (int s = 0; s < own; s++)
        if (strcmp(panel->series[s].model, model) == 0) return true;
    return false;
}

static bool same_line(const SpeedPoint *a, const SpeedPoint *b) {
    return a->measure == b->measure && strcmp(a->theirs, b->theirs) == 0;
}

static void cite(Chart *chart, const SpeedPoint *point) {
    if (strstr(chart->sources, point->citation)) return;
    const size_t used = strlen(chart->sources);
    snprintf(chart->sources + used, sizeof chart->sources - used, "%s%s", used ? "; " : "",
             point->citation);
}

/* A dotted line for each implementation of a model that was measured. */
static void add_published(Chart *chart, Panel *panel, const Quantity *quantity,
                          const SpeedPublished *published) {
    const int own = panel->count;
    for (int i = 0; i < published->count; i++) {
        const SpeedPoint *first = &published->points[i];
        bool drawn =
            (int)first->measure != quantity->published || !has_model(panel, own, first->model);
        for (int k = 0; k < i; k++) drawn |= same_line(first, &published->points[k]);
        if (drawn) continue;
        Series *series = panel_add_series(panel, first->model, SERIES_PUBLISHED);
        for (int k = i; k < published->count; k++) {
            const SpeedPoint *point = &published->points[k];
            if (same_line(first, point))
                series_add_point(series, (ChartPoint){(double)point->length,
                                                      point->value * quantity->scale, NAN, NAN});
        }
        cite(chart, first);
    }
}

static void add_panel(Chart *chart, const SpeedReport *report, int64_t width,
                      const Quantity *quantity, const SpeedPublished *published) {
    char title[128] = "";
    if (several_widths(report))
        snprintf(title, sizeof title, "width %lld%s%s", (long long)width,
                 *quantity->title ? ", " : "", quantity->title);
    else
        snprintf(title, sizeof title, "%s", quantity->title);
    Panel *panel = chart_add_panel(chart, title);
    for (int i = 0; i < report->count; i++) {
        const SpeedRow *row = &report->rows[i];
        if (row->width != width || row->skipped[0]) continue;
        const double value = quantity->value(row);
        if (value > 0)
            series_add_point(series_of(panel, row->model),
                             (ChartPoint){(double)row->length, value, NAN, NAN});
    }
    if (quantity->published >= 0) add_published(chart, panel, quantity, published);
    if (panel->count == 0) chart->count--; /* nothing of it was measured */
}

Chart speed_chart(const SpeedReport *report, const SpeedPublished *published, int number) {
    Chart chart = {.chance = NAN};
    snprintf(chart.name, sizeof chart.name, "%s", charts[number].name);
    snprintf(chart.title, sizeof chart.title, "%s", charts[number].title);
    chart.x = (Axis){.label = "length", .base = 2};
    chart.y = (Axis){.base = 10};
    snprintf(chart.y.label, sizeof chart.y.label, "%s", charts[number].axis);
    char where[112];
    if (report->gpu[0])
        snprintf(where, sizeof where, "%.100s", report->gpu);
    else
        snprintf(where, sizeof where, "%d thread%s", report->threads,
                 report->threads == 1 ? "" : "s");
    snprintf(chart.note, sizeof chart.note, "%s, %s%s%.70s", report->task, where,
             *report->setting ? ", " : "", report->setting);
    for (int i = 0; i < report->count; i++) {
        bool seen = false;
        for (int k = 0; k < i; k++) seen |= report->rows[k].width == report->rows[i].width;
        for (int q = 0; q < MOST_QUANTITIES && !seen; q++)
            if (charts[number].quantities[q].value)
                add_panel(&chart, report, report->rows[i].width, &charts[number].quantities[q],
                          published);
    }
    chart_share_range(&chart, false, &chart.x);
    chart_share_range(&chart, true, &chart.y);
    return chart;
}
