#include "bench/speed/kernels_figure.h"

#include <math.h>
#include <string.h>

static bool is_backward(const KernelRow *row) {
    const char *phase = strrchr(row->name, '/');
    return phase && strcmp(phase, "/backward") == 0;
}

static double intensity(const KernelRow *row) {
    return (row->cost.flops + row->cost.specials) /
           (row->cost.bytes_read + row->cost.bytes_written);
}

/* What binds a case chooses its colour: in a fixed order, so that two figures agree. */
static int bound_slot(const Ceiling *roof, const char *bound) {
    for (int i = 0; i < roof->levels; i++)
        if (strcmp(roof->level[i].name, bound) == 0) return 2 + i;
    return strcmp(bound, "arithmetic") == 0 ? 0 : 1;
}

static Series *series_of(Panel *panel, const char *name, int slot, SeriesKind kind) {
    for (int s = 0; s < panel->count; s++)
        if (panel->series[s].kind == kind && panel->series[s].slot == slot)
            return &panel->series[s];
    Series *series = panel_add_series(panel, name, kind);
    series->slot = slot;
    return series;
}

/* Below this a case moves data and does nothing else; it would only stretch the axis. */
static const double least_intensity = 0.01;

/* Points of the figure; returns the number of cases that do no arithmetic and so have no place. */
static int add_points(Panel *panel, const KernelReport *report) {
    int without = 0;
    for (int i = 0; i < report->count; i++) {
        const KernelRow *row = &report->rows[i];
        const double flops = row->count ? kernel_flops(row) : 0;
        const bool shown = flops > 0 && intensity(row) >= least_intensity;
        without += row->count && !shown;
        if (!shown) continue;
        Series *series = series_of(panel, row->bound, bound_slot(&report->ceiling, row->bound),
                                   is_backward(row) ? SERIES_OPEN : SERIES_POINTS);
        series_add_point(series, (ChartPoint){intensity(row), flops / 1e9, NAN, NAN});
    }
    return without;
}

/* Bandwidths rise to the arithmetic roof; the second point of each carries the name. */
static void add_roofs(Chart *chart, const KernelReport *report) {
    const Ceiling *roof = &report->ceiling;
    Panel *panel = &chart->panels[0];
    double ridge = INFINITY;
    for (int i = 0; i < roof->levels; i++) {
        const double rate = ceiling_bandwidth(&roof->level[i]), end = roof->flops / rate;
        if (!(rate > 0)) continue;
        /* Names at different places along their lines, which lie close together. */
        const double name = chart->x.low * pow(end / chart->x.low, 0.12 + 0.2 * i);
        Series *series = panel_add_series(panel, roof->level[i].name, SERIES_ROOF);
        const double along[] = {chart->x.low, name, end};
        for (int k = 0; k < 3; k++)
            series_add_point(series, (ChartPoint){along[k], rate * along[k] / 1e9, NAN, NAN});
        ridge = fmin(ridge, end);
    }
    Series *flat = panel_add_series(panel, "multiply-add", SERIES_ROOF);
    const double along[] = {ridge, sqrt(ridge * chart->x.high), chart->x.high};
    for (int k = 0; k < 3; k++)
        series_add_point(flat, (ChartPoint){along[k], roof->flops / 1e9, NAN, NAN});
    for (int i = 0; i < PRODUCTS_COUNT; i++) {
        if (!(roof->matrix[i] > 0) || (!report->gpu[0] && report->products != (Products)i))
            continue;
        char name[32];
        snprintf(name, sizeof name, "%s products", products_name((Products)i));
        Series *series = panel_add_series(panel, name, SERIES_ROOF);
        for (int k = 0; k < 3; k++)
            series_add_point(series, (ChartPoint){along[k], roof->matrix[i] / 1e9, NAN, NAN});
    }
}

static void describe(const KernelReport *report, char *text, size_t bytes) {
    const Ceiling *roof = &report->ceiling;
    int used = report->gpu[0]
                   ? snprintf(text, bytes, "%s, %s products; roofs %.0f GFLOP/s;", report->gpu,
                              products_name(report->products), roof->flops / 1e9)
                   : snprintf(text, bytes, "%s, %s products, %d thread%s; roofs %.0f GFLOP/s;",
                              isa_name(report->isa), products_name(report->products),
                              report->threads, report->threads == 1 ? "" : "s", roof->flops / 1e9);
    for (int i = 0; i < roof->levels && used < (int)bytes; i++)
        used += snprintf(text + used, bytes - (size_t)used, "%s %s %.0f", i ? "," : "",
                         roof->level[i].name, ceiling_bandwidth(&roof->level[i]) / 1e9);
    if (used < (int)bytes) snprintf(text + used, bytes - (size_t)used, " GB/s");
}

Chart kernels_roofline(const KernelReport *report) {
    Chart chart = {.name = "roofline", .title = "Kernels under the roof", .chance = NAN};
    chart.x = (Axis){.label = "arithmetic intensity (FLOP/byte)", .base = 10};
    chart.y = (Axis){.label = "GFLOP/s", .base = 10};
    describe(report, chart.note, sizeof chart.note);
    Panel *panel = chart_add_panel(&chart, "filled: forward, open: backward");
    const int without = add_points(panel, report);
    if (panel->count == 0) {
        chart_free(&chart);
        return chart;
    }
    if (without)
        snprintf(panel->title, sizeof panel->title,
                 "filled: forward, open: backward; %d without arithmetic left out", without);
    chart_share_range(&chart, false, &chart.x);
    const Ceiling *roof = &report->ceiling;
    chart.x.high =
        fmax(chart.x.high, 4 * roof->flops / ceiling_bandwidth(&roof->level[roof->levels - 1]));
    add_roofs(&chart, report);
    chart_share_range(&chart, true, &chart.y);
    return chart;
}

/* "attention/L512" of "attention/L512/forward". */
static void case_name(const KernelRow *row, char name[128]) {
    snprintf(name, 128, "%s", row->name);
    *strrchr(name, '/') = '\0';
}

Chart kernels_bars(const KernelReport *report) {
    Chart chart = {.name = "fraction", .title = "Share of the attainable roof", .chance = NAN};
    chart.x = (Axis){.label = "per cent of the attainable roof", .low = 0, .high = 100};
    chart.y = (Axis){.label = "case", .low = NAN, .high = NAN};
    describe(report, chart.note, sizeof chart.note);
    Panel *panel = NULL;
    for (int i = 0; i < report->count; i++) {
        const KernelRow *row = &report->rows[i];
        if (!row->count) continue;
        char name[128];
        case_name(row, name);
        if (!panel) panel = chart_add_panel(&chart, "");
        if (!chart.row_count || strcmp(chart.rows[chart.row_count - 1], name) != 0)
            chart_add_row(&chart, name);
        const bool backward = is_backward(row);
        Series *series =
            series_of(panel, backward ? "backward" : "forward", backward ? 5 : 1, SERIES_BAR);
        const double share = 100 * kernel_fraction(row);
        series_add_point(series, (ChartPoint){share, chart.row_count - 1, NAN, NAN});
        chart.x.high = fmax(chart.x.high, share);
    }
    return chart;
}
