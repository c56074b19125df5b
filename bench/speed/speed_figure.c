#include "bench/speed/speed_figure.h"

#include <math.h>
#include <string.h>

/* One panel of each width, of a generation of each width and prompt: a quantity of a row, in the
 * unit of the axis. */
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

static double generated(const SpeedRow *row) {
    return 1 / speed_token_seconds(&row->speed, SPEED_GENERATE);
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
    bool of_generation; /* against the size of the batch; else against length */
    Quantity quantities[MOST_QUANTITIES];
} charts[SPEED_CHARTS] = {
    {"time",
     "Time of a token against length",
     "microseconds a token",
     false,
     {{"training", train_token, MEASURE_TRAIN_TOKEN, 1e6},
      {"prefill", prefill_token, -1, 0},
      {"decoding", decode_token, -1, 0}}},
    {"memory",
     "Memory of a training step against length",
     "MiB, training step",
     false,
     {{"", planned, MEASURE_MEMORY, 1 / 0x1p20}}},
    {"state",
     "State of one sequence while decoding, against length",
     "KiB, state of a sequence",
     false,
     {{"", state, -1, 0}}},
    {"generation",
     "Generated tokens a second against batch size",
     "tokens a second, prompts included",
     true,
     {{"", generated, MEASURE_GENERATION, 1}}},
};

static bool several_widths(const SpeedReport *report) {
    for (int i = 1; i < report->count; i++)
        if (report->rows[i].width != report->rows[0].width) return true;
    return false;
}

/* Whether two rows are points of one panel. */
static bool same_panel(const SpeedReport *report, const SpeedRow *a, const SpeedRow *b) {
    return a->width == b->width && (!report->generated || a->length == b->length);
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

/* What a panel shows, and of which rows: those like its first. */
typedef struct Shown {
    const SpeedReport *report;
    const SpeedRow *first;
    const Quantity *quantity;
} Shown;

/* Whether a point belongs beside them. */
static bool fits(const SpeedPoint *point, const Shown *shown) {
    if ((int)point->measure != shown->quantity->published) return false;
    return point->measure != MEASURE_GENERATION ||
           (point->length == shown->first->length && point->generated == shown->report->generated);
}

static void cite(Chart *chart, const SpeedPoint *point) {
    if (strstr(chart->sources, point->citation)) return;
    const size_t used = strlen(chart->sources);
    snprintf(chart->sources + used, sizeof chart->sources - used, "%s%s", used ? "; " : "",
             point->citation);
}

/* A dotted line for each implementation of a model that was measured. */
static void add_published(Chart *chart, Panel *panel, const Shown *shown,
                          const SpeedPublished *published) {
    const int own = panel->count;
    for (int i = 0; i < published->count; i++) {
        const SpeedPoint *first = &published->points[i];
        bool drawn = !fits(first, shown) || !has_model(panel, own, first->model);
        for (int k = 0; k < i; k++)
            drawn |= fits(&published->points[k], shown) &&
                     strcmp(first->theirs, published->points[k].theirs) == 0;
        if (drawn) continue;
        Series *series = panel_add_series(panel, first->model, SERIES_PUBLISHED);
        for (int k = i; k < published->count; k++) {
            const SpeedPoint *point = &published->points[k];
            const int64_t x = point->measure == MEASURE_GENERATION ? point->batch : point->length;
            if (fits(point, shown) && strcmp(first->theirs, point->theirs) == 0)
                series_add_point(
                    series,
                    (ChartPoint){(double)x, point->value * shown->quantity->scale, NAN, NAN});
        }
        cite(chart, first);
    }
}

static void add_panel(Chart *chart, const Shown *shown, const SpeedPublished *published) {
    const SpeedReport *report = shown->report;
    const SpeedRow *first = shown->first;
    const Quantity *quantity = shown->quantity;
    char width[48] = "", what[64];
    if (several_widths(report))
        snprintf(width, sizeof width, "width %lld", (long long)first->width);
    if (report->generated)
        snprintf(what, sizeof what, "prompts of %lld, %lld tokens", (long long)first->length,
                 (long long)report->generated);
    else
        snprintf(what, sizeof what, "%s", quantity->title);
    char title[128];
    snprintf(title, sizeof title, "%s%s%s", width, *width && *what ? ", " : "", what);
    Panel *panel = chart_add_panel(chart, title);
    for (int i = 0; i < report->count; i++) {
        const SpeedRow *row = &report->rows[i];
        if (!same_panel(report, row, first) || row->skipped[0]) continue;
        const double value = quantity->value(row);
        const int64_t x = report->generated ? row->batch : row->length;
        if (value > 0)
            series_add_point(series_of(panel, row->model),
                             (ChartPoint){(double)x, value, NAN, NAN});
    }
    if (quantity->published >= 0) add_published(chart, panel, shown, published);
    if (panel->count == 0) chart->count--; /* nothing of it was measured */
}

Chart speed_chart(const SpeedReport *report, const SpeedPublished *published, int number) {
    Chart chart = {.chance = NAN};
    snprintf(chart.name, sizeof chart.name, "%s", charts[number].name);
    snprintf(chart.title, sizeof chart.title, "%s", charts[number].title);
    chart.x = (Axis){.base = 2};
    snprintf(chart.x.label, sizeof chart.x.label, "%s",
             report->generated ? "sequences in the batch" : "length");
    chart.y = (Axis){.base = 10};
    snprintf(chart.y.label, sizeof chart.y.label, "%s", charts[number].axis);
    if (charts[number].of_generation != (report->generated > 0)) return chart;
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
        for (int k = 0; k < i; k++) seen |= same_panel(report, &report->rows[k], &report->rows[i]);
        for (int q = 0; q < MOST_QUANTITIES && !seen; q++)
            if (charts[number].quantities[q].value)
                add_panel(&chart, &(Shown){report, &report->rows[i], &charts[number].quantities[q]},
                          published);
    }
    chart_share_range(&chart, false, &chart.x);
    chart_share_range(&chart, true, &chart.y);
    return chart;
}
