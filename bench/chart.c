#include "bench/chart.h"

#include <stdlib.h>
#include <string.h>

#include "bench/palette.h"

static void *grow(void *list, int count, size_t size) {
    void *grown = realloc(list, (size_t)count * size);
    if (!grown) abort();
    return grown;
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
    *series = (Series){.kind = kind};
    snprintf(series->model, sizeof series->model, "%s", model);
    return series;
}

void series_add_point(Series *series, ChartPoint point) {
    series->points = grow(series->points, ++series->count, sizeof *series->points);
    series->points[series->count - 1] = point;
}

void chart_free(Chart *chart) {
    for (int p = 0; p < chart->count; p++) {
        for (int s = 0; s < chart->panels[p].count; s++) free(chart->panels[p].series[s].points);
        free(chart->panels[p].series);
    }
    free(chart->panels);
    *chart = (Chart){0};
}

int chart_models(const Chart *chart, const char **models, int most) {
    int count = 0;
    for (int p = 0; p < chart->count; p++) {
        for (int s = 0; s < chart->panels[p].count; s++) {
            const char *model = chart->panels[p].series[s].model;
            int place = 0;
            while (place < count && palette_slot(models[place]) < palette_slot(model)) place++;
            bool known = false;
            for (int i = 0; i < count; i++) known |= !strcmp(models[i], model);
            if (known || count == most) continue;
            memmove(models + place + 1, models + place, (size_t)(count - place) * sizeof *models);
            models[place] = model;
            count++;
        }
    }
    return count;
}
