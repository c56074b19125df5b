#include "bench/report/chart.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/common/terminal.h"
#include "bench/report/palette.h"
#include "engine/memory.h"

static void *grow(void *list, int count, size_t size) {
    return memory_resize(list, (size_t)count * size);
}

Panel *chart_add_panel(Chart *chart, const char *title) {
    chart->panels = grow(chart->panels, ++chart->count, sizeof *chart->panels);
    Panel *panel = &chart->panels[chart->count - 1];
    *panel = (Panel){0};
    snprintf(panel->title, sizeof panel->title, "%s", title);
    return panel;
}

Series *panel_add_series(Panel *panel, const char *model, SeriesKind kind) {
    panel->series = grow(panel->series, ++panel->count, sizeof *panel->series);
    Series *series = &panel->series[panel->count - 1];
    *series = (Series){.kind = kind, .slot = palette_slot(model)};
    snprintf(series->model, sizeof series->model, "%s", model);
    return series;
}

void series_add_point(Series *series, ChartPoint point) {
    series->points = grow(series->points, ++series->count, sizeof *series->points);
    series->points[series->count - 1] = point;
}

void chart_add_row(Chart *chart, const char *name) {
    chart->rows = grow(chart->rows, ++chart->row_count, sizeof *chart->rows);
    chart->rows[chart->row_count - 1] = memory_copy_text(name);
}

void chart_add_name(Chart *chart, const char *name) {
    chart->names = grow(chart->names, ++chart->name_count, sizeof *chart->names);
    chart->names[chart->name_count - 1] = memory_copy_text(name);
}

void chart_clear(Chart *chart) {
    for (int p = 0; p < chart->count; p++) {
        for (int s = 0; s < chart->panels[p].count; s++) free(chart->panels[p].series[s].points);
        free(chart->panels[p].series);
    }
    chart->count = 0;
}

void chart_free(Chart *chart) {
    chart_clear(chart);
    for (int r = 0; r < chart->row_count; r++) free(chart->rows[r]);
    for (int n = 0; n < chart->name_count; n++) free(chart->names[n]);
    free(chart->rows);
    free(chart->names);
    free(chart->panels);
    *chart = (Chart){0};
}

const char *chart_template(const Chart *chart) {
    return chart->row_count ? "plots/bars.gp" : "plots/panels.gp";
}

int chart_models(const Chart *chart, const char **models, int *slots, int most) {
    int count = 0;
    for (int p = 0; p < chart->count; p++) {
        for (int s = 0; s < chart->panels[p].count; s++) {
            const Series *series = &chart->panels[p].series[s];
            int place = 0;
            while (place < count && slots[place] < series->slot) place++;
            bool known = series->kind == SERIES_ROOF || series->kind == SERIES_CHANCE;
            for (int i = 0; i < count; i++) known |= !strcmp(models[i], series->model);
            if (known || count == most) continue;
            memmove(models + place + 1, models + place, (size_t)(count - place) * sizeof *models);
            memmove(slots + place + 1, slots + place, (size_t)(count - place) * sizeof *slots);
            models[place] = series->model;
            slots[place] = series->slot;
            count++;
        }
    }
    return count;
}

/* The nearest of 1, 2, 5 times a power of ten that is at most value, or at least value. */
static double round_number(double value, bool up) {
    static const double steps[] = {0.5, 1, 2, 5, 10};
    const double decade = pow(10, floor(log10(value)));
    for (int i = 0; i < 5; i++) {
        const int step = up ? i : 4 - i;
        const double candidate = steps[step] * decade;
        if (up ? candidate >= value : candidate <= value) return candidate;
    }
    return value;
}

void chart_share_range(const Chart *chart, bool vertical, Axis *axis) {
    axis->low = INFINITY;
    axis->high = 0;
    for (int p = 0; p < chart->count; p++) {
        for (int s = 0; s < chart->panels[p].count; s++) {
            const Series *series = &chart->panels[p].series[s];
            for (int i = 0; i < series->count; i++) {
                const double value = vertical ? series->points[i].y : series->points[i].x;
                if (!(value > 0)) continue;
                axis->low = fmin(axis->low, value / 1.1);
                axis->high = fmax(axis->high, value * 1.1);
            }
        }
    }
    if (!(axis->low < axis->high)) {
        axis->low = axis->high = NAN;
        return;
    }
    axis->low = round_number(axis->low, false);
    axis->high = round_number(axis->high, true);
}

Status chart_show(const Chart *chart, const char *folder, bool ascii, Error *error) {
    if (chart->count == 0) return STATUS_OK;
    const Status status = chart_write_data(chart, folder, error);
    if (ascii) chart_write_text(chart, terminal_columns(STDOUT_FILENO, 80), stdout);
    return ascii || status != STATUS_OK ? status : chart_draw(chart, folder, stdout, error);
}
