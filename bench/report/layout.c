#include "bench/report/layout.h"

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

static int axis_along_x(const Study *study, const Summary *summary, bool must_differ) {
    for (int a = 0; a < study->axis_count; a++) {
        if (strcmp(study->axes[a], "width") != 0) continue;
        if (!must_differ || values_differ(summary, a)) return a;
    }
    for (int a = 0; a < study->axis_count; a++) {
        if (values_are_numbers(summary, a) && values_differ(summary, a)) return a;
    }
    for (int a = 0; a < study->axis_count; a++) {
        if (values_differ(summary, a)) return a;
    }
    return -1;
}

static void add_model(Layout *layout, const Row *row) {
    int place = 0;
    for (int i = 0; i < layout->model_count; i++) {
        if (!strcmp(layout->models[i], row->name)) return;
        place += layout->slots[i] < row->slot;
    }
    if (layout->model_count == LAYOUT_MODELS) return;
    const size_t after = (size_t)(layout->model_count++ - place);
    memmove(layout->models + place + 1, layout->models + place, after * sizeof *layout->models);
    memmove(layout->slots + place + 1, layout->slots + place, after * sizeof *layout->slots);
    layout->models[place] = row->name;
    layout->slots[place] = row->slot;
}

static int place_of(const Layout *layout, const char *name) {
    for (int i = 0; i < layout->name_count; i++) {
        if (!strcmp(layout->names[i], name)) return i;
    }
    return -1;
}

/* Words in the order in which the suite lists them: that of its records. */
static void name_places(Layout *layout) {
    const Study *study = layout->study;
    for (int i = 0; i < study->count && layout->name_count < LAYOUT_NAMES; i++) {
        const char *value = study_value(&study->records[i], study->axes[layout->axis]);
        if (place_of(layout, value) < 0) layout->names[layout->name_count++] = value;
    }
}

Layout layout_open(const Study *study, const Summary *summary, bool must_differ) {
    Layout layout = {.study = study, .summary = summary};
    layout.axis = axis_along_x(study, summary, must_differ);
    layout.words = layout.axis < 0 || !values_are_numbers(summary, layout.axis);
    for (int r = 0; r < summary->count; r++) add_model(&layout, &summary->rows[r]);
    if (layout.axis < 0) {
        layout.name_count = layout.model_count;
        memcpy(layout.names, layout.models, sizeof layout.names);
    } else if (layout.words) {
        name_places(&layout);
    }
    return layout;
}

void layout_axis(const Layout *layout, Chart *chart) {
    Axis *axis = &chart->x;
    if (layout->axis >= 0)
        snprintf(axis->label, sizeof axis->label, "%s", layout->study->axes[layout->axis]);
    if (layout->words) {
        for (int i = 0; i < layout->name_count; i++) chart_add_name(chart, layout->names[i]);
        axis->low = 0.5;
        axis->high = layout->name_count + 0.5;
        return;
    }
    axis->base = 2;
    axis->low = INFINITY;
    axis->high = 0;
    for (int r = 0; r < layout->summary->count; r++) { /* half a step of room on both sides */
        const double x = atof(layout->summary->rows[r].values[layout->axis]);
        axis->low = fmin(axis->low, x / 1.35);
        axis->high = fmax(axis->high, x * 1.35);
    }
    if (!(axis->low > 0)) axis->base = 0;
}

double layout_x_of(const Layout *layout, const Row *row, const char *model, double number) {
    if (!layout->words) return number;
    int index = 0;
    while (index < layout->model_count && strcmp(layout->models[index], model) != 0) index++;
    if (layout->axis < 0) return 1 + index;
    const double step = 0.72 / (double)layout->model_count;
    return 1 + place_of(layout, row->values[layout->axis]) +
           step * (index - 0.5 * (layout->model_count - 1));
}

double layout_x(const Layout *layout, const Row *row) {
    const double number = layout->axis < 0 ? 1 : atof(row->values[layout->axis]);
    return layout_x_of(layout, row, row->name, number);
}

/* True when the value along x decides the value of the other axis (pairs that grow with length). */
static bool tied_to_x(const Layout *layout, int axis) {
    const Summary *summary = layout->summary;
    bool differ = false;
    for (int r = 0; r < summary->count; r++) {
        for (int q = 0; q < r; q++) {
            const Row *a = &summary->rows[r], *b = &summary->rows[q];
            const bool same = !strcmp(a->values[axis], b->values[axis]);
            if (!same && !strcmp(a->values[layout->axis], b->values[layout->axis])) return false;
            differ |= !same;
        }
    }
    return differ;
}

Panel *layout_labels_panel(const Layout *layout, const Study *study, const Row *row, int64_t labels,
                           Chart *chart) {
    char title[128] = "";
    if (labels) snprintf(title, sizeof title, "%" PRId64 " labels", labels);
    for (int a = 0; a < study->axis_count; a++) {
        if (layout && layout->axis >= 0 && (a == layout->axis || tied_to_x(layout, a))) continue;
        const size_t used = strlen(title);
        snprintf(title + used, sizeof title - used, "%s%s %s", used ? ", " : "", study->axes[a],
                 row->values[a]);
    }
    for (int p = 0; p < chart->count; p++) {
        if (!strcmp(chart->panels[p].title, title)) return &chart->panels[p];
    }
    return chart_add_panel(chart, title);
}

Panel *layout_panel(const Layout *layout, const Study *study, const Row *row, Chart *chart) {
    return layout_labels_panel(layout, study, row, 0, chart);
}

Series *layout_series(Panel *panel, const char *model, SeriesKind kind) {
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

void layout_sort(Chart *chart) {
    for (int p = 0; p < chart->count; p++) {
        for (int s = 0; s < chart->panels[p].count; s++) {
            Series *series = &chart->panels[p].series[s];
            qsort(series->points, (size_t)series->count, sizeof *series->points, by_x);
        }
    }
}
