#include "bench/report/figure.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench/report/layout.h"
#include "bench/report/overlay.h"
#include "engine/memory.h"

static void metric_axis(const Study *study, Axis *axis) {
    snprintf(axis->label, sizeof axis->label, "%s", study->metric);
    axis->low = axis->high = NAN;
    if (!strcmp(study->metric, "accuracy")) {
        axis->low = 0;
        axis->high = 1;
    }
    if (!strcmp(study->metric, "squared error") || !strcmp(study->metric, "perplexity"))
        axis->base = 10;
}

/* The best possible in place of chance, which is far off, where both are known. */
static bool add_best_possible(const Layout *layout, Chart *chart) {
    const Summary *summary = layout->summary;
    if (summary->count == 0 || isnan(summary->rows[0].best_possible)) return false;
    chart->chance = summary->rows[0].best_possible;
    const size_t used = strlen(chart->note);
    snprintf(chart->note + used, sizeof chart->note - used, "; dashed: best possible");
    return true;
}

/* Chance: one line where it is the same for all, else a dash for each case. */
static void add_chance(const Layout *layout, Chart *chart) {
    const Study *study = layout->study;
    if (add_best_possible(layout, chart)) return;
    if (study->chance >= 0.01) chart->chance = study->chance;
    if (!study_chance_varies(study)) return;
    chart->chance = NAN;
    for (int r = 0; r < layout->summary->count; r++) {
        const Row *row = &layout->summary->rows[r];
        const double chance = row->seeds[0]->chance;
        Panel *panel = layout_panel(layout, study, row, chart);
        Series *series = panel_add_series(panel, "chance", SERIES_CHANCE);
        const double first = layout_x_of(layout, row, layout->models[0], layout_x(layout, row));
        const double last = layout_x_of(layout, row, layout->models[layout->model_count - 1],
                                        layout_x(layout, row));
        const double room = layout->words ? 0.1 : 0;
        series_add_point(series,
                         (ChartPoint){first / (layout->words ? 1 : 1.15) - room, chance, NAN, NAN});
        series_add_point(series,
                         (ChartPoint){last * (layout->words ? 1 : 1.15) + room, chance, NAN, NAN});
    }
}

/* A mean with its interval, and a small mark for each of several seeds. */
static void add_mean(Panel *panel, const char *model, SeriesKind kind, ChartPoint mean,
                     const double *values, int count) {
    for (int i = 0; i < count && count > 1; i++)
        series_add_point(layout_series(panel, model, SERIES_SEEDS),
                         (ChartPoint){mean.x, values[i], NAN, NAN});
    series_add_point(layout_series(panel, model, kind), mean);
}

static void metric(const Study *study, const Summary *summary, const Published *published,
                   Chart *chart) {
    const Layout layout = layout_open(study, summary, false);
    metric_axis(study, &chart->y);
    layout_axis(&layout, chart);
    add_chance(&layout, chart);
    /* No line joins places that are words. */
    const SeriesKind own = layout.words ? SERIES_POINTS : SERIES_MEAN;
    for (int r = 0; r < summary->count; r++) {
        const Row *row = &summary->rows[r];
        const ChartPoint point = {layout_x(&layout, row), row->mean, row->interval.low,
                                  row->interval.high};
        add_mean(layout_panel(&layout, study, row, chart), row->name, own, point, row->metrics,
                 row->seed_count);
    }
    overlay_metric(&layout, published, chart);
    layout_sort(chart);
    if (chart->y.base) chart_share_range(chart, true, &chart->y);
    if (chart->y.base && chart->chance < chart->y.low) chart->y.low = chart->chance / 1.1;
}

static const char *const units[] = {"", "k", "M", "G", "T", "P", "E"};
enum { UNITS = sizeof units / sizeof *units };

/* One seed's validations; its last point carries an interval of no width, which marks the end. */
static void add_curve(Panel *panel, const Row *row, const Result *result, double unit) {
    if (result->curve_count == 0) return;
    Series *curve = panel_add_series(panel, row->name, SERIES_CURVE);
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
        Panel *panel = layout_panel(NULL, study, row, chart);
        for (int i = 0; i < row->seed_count; i++) {
            add_curve(panel, row, &row->seeds[i]->result, pow(1000, unit));
        }
    }
    if (chart->y.base) chart_share_range(chart, true, &chart->y);
}

static void seconds(const Study *study, const Summary *summary, const Published *published,
                    Chart *chart) {
    (void)published;
    const Layout layout = layout_open(study, summary, true);
    layout_axis(&layout, chart);
    chart->y = (Axis){.label = "seconds a cell", .base = 10, .low = NAN, .high = NAN};
    const SeriesKind own = layout.words ? SERIES_POINTS : SERIES_MEAN;
    for (int r = 0; r < summary->count; r++) {
        const Row *row = &summary->rows[r];
        const double x = layout_x(&layout, row);
        Panel *panel = layout_panel(&layout, study, row, chart);
        for (int i = 0; i < row->seed_count && row->seed_count > 1; i++) {
            series_add_point(layout_series(panel, row->name, SERIES_SEEDS),
                             (ChartPoint){x, row->seeds[i]->result.wall_seconds, NAN, NAN});
        }
        series_add_point(layout_series(panel, row->name, own),
                         (ChartPoint){x, row->wall_seconds, NAN, NAN});
    }
    layout_sort(chart);
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
            series_add_point(
                layout_series(layout_panel(NULL, study, row, chart), row->name, SERIES_MEAN),
                (ChartPoint){x, exp(nats / labels), NAN, NAN});
            chart->x.low = fmin(chart->x.low, x / 1.35);
            chart->x.high = fmax(chart->x.high, x * 1.35);
        }
    }
    layout_sort(chart);
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

static const SampleGroup *sample_groups(const Row *row, int seed, size_t offset) {
    return (const SampleGroup *)((const char *)&row->seeds[seed]->result.test + offset);
}

/* The most groups that one row was tested on. */
static int most_groups(const Summary *summary, size_t offset) {
    int most = 0;
    for (int r = 0; r < summary->count; r++) {
        int count = 0;
        for (int g = 0; g < BREAKDOWN_POSITIONS; g++)
            count += sample_groups(&summary->rows[r], 0, offset)[g].samples > 0;
        if (count > most) most = count;
    }
    return most;
}

/* Test accuracy against what groups[] of a Breakdown at `offset` are by; all seeds of a row
 * together. A group stands at its low end: tests by octaves have only that one. Nothing where no
 * row was tested on several. */
static void add_sample_groups(const Study *study, const Summary *summary, Chart *chart,
                              size_t offset) {
    if (most_groups(summary, offset) < 2) return;
    metric_axis(study, &chart->y);
    chart->x.low = INFINITY;
    if (study->chance >= 0.01 && !study_chance_varies(study)) chart->chance = study->chance;
    for (int r = 0; r < summary->count; r++) {
        const Row *row = &summary->rows[r];
        for (int g = 0; g < BREAKDOWN_POSITIONS; g++) {
            double weight = 0, accuracy = 0, from = 0;
            for (int i = 0; i < row->seed_count; i++) {
                const SampleGroup *group = &sample_groups(row, i, offset)[g];
                weight += group->weight;
                accuracy += group->accuracy;
                from = fmax(from, (double)group->from);
            }
            if (weight == 0) continue;
            series_add_point(
                layout_series(layout_panel(NULL, study, row, chart), row->name, SERIES_MEAN),
                (ChartPoint){from, accuracy / weight, NAN, NAN});
            chart->x.low = fmin(chart->x.low, from / 1.35);
            chart->x.high = fmax(chart->x.high, from * 1.35);
        }
    }
    layout_sort(chart);
}

static void by_length(const Study *study, const Summary *summary, const Published *published,
                      Chart *chart) {
    const Layout layout = layout_open(study, summary, false);
    chart->x = (Axis){.label = "length in test", .base = 2};
    add_sample_groups(study, summary, chart, offsetof(Breakdown, lengths));
    if (chart->count == 0) return;
    overlay_lengths(&layout, published, chart);
    layout_sort(chart);
}

static void by_labels(const Study *study, const Summary *summary, const Published *published,
                      Chart *chart) {
    (void)published;
    chart->x = (Axis){.label = "labels of a sample in test", .base = 2};
    add_sample_groups(study, summary, chart, offsetof(Breakdown, label_counts));
}

/* Where the width varies and models are tested at several numbers of labels: a panel for each. */
static void by_width(const Study *study, const Summary *summary, const Published *published,
                     Chart *chart) {
    const Layout layout = layout_open(study, summary, true);
    if (layout.axis < 0 || strcmp(study->axes[layout.axis], "width") != 0) return;
    metric_axis(study, &chart->y);
    layout_axis(&layout, chart);
    if (study->chance >= 0.01 && !study_chance_varies(study)) chart->chance = study->chance;
    for (int r = 0; r < summary->count; r++) {
        const Row *row = &summary->rows[r];
        int64_t labels[BREAKDOWN_POSITIONS];
        const int count = study_labels(row, labels);
        double *values = memory_take_zeroed((size_t)row->seed_count, sizeof *values);
        for (int k = 0; k < count; k++) {
            for (int i = 0; i < row->seed_count; i++)
                values[i] = study_labels_accuracy(row, i, labels[k]);
            const Interval interval =
                student_interval(values, row->seed_count, STUDY_CONFIDENCE_PERCENT / 100.0);
            const ChartPoint point = {layout_x(&layout, row), mean(values, row->seed_count),
                                      interval.low, interval.high};
            add_mean(layout_labels_panel(&layout, study, row, labels[k], chart), row->name,
                     SERIES_MEAN, point, values, row->seed_count);
        }
        free(values);
    }
    if (chart->count == 0) return;
    overlay_labels(&layout, published, chart);
    layout_sort(chart);
}

/* The best validation of every tried value of the first tuned setting, first seed. */
static void tuning(const Study *study, const Summary *summary, const Published *published,
                   Chart *chart) {
    (void)published;
    if (study->tuned_count == 0) return;
    const char *key = study->tuned[0];
    metric_axis(study, &chart->y);
    snprintf(chart->y.label, sizeof chart->y.label, "validation %.40s", study->metric);
    chart->x = (Axis){.base = 10, .low = INFINITY};
    snprintf(chart->x.label, sizeof chart->x.label, "%s", key);
    const char *first_seed = study->count ? study_value(&study->records[0], "seed") : "";
    for (int r = 0; r < summary->count; r++) {
        const Row *row = &summary->rows[r];
        for (int i = 0; i < study->count; i++) {
            const Record *record = &study->records[i];
            const double x = atof(study_value(record, key));
            if (!study_in_row(study, record, row->seeds[0]) || !(x > 0) ||
                strcmp(study_value(record, "seed"), first_seed) != 0)
                continue;
            series_add_point(
                layout_series(layout_panel(NULL, study, row, chart), row->name, SERIES_MEAN),
                (ChartPoint){x, record->result.best_validation_metric, NAN, NAN});
            chart->x.low = fmin(chart->x.low, x / 1.35);
            chart->x.high = fmax(chart->x.high, x * 1.35);
        }
    }
    if (!(chart->x.high > 2 * chart->x.low)) chart_clear(chart); /* one value: nothing was tuned */
    layout_sort(chart);
    if (chart->y.base) chart_share_range(chart, true, &chart->y);
}

/* Where the suite varies the width: the test metric against the bytes that a sequence carries. */
static void by_state(const Study *study, const Summary *summary, const Published *published,
                     Chart *chart) {
    const Layout layout = layout_open(study, summary, true);
    if (layout.axis < 0 || strcmp(study->axes[layout.axis], "width") != 0) return;
    metric_axis(study, &chart->y);
    chart->x = (Axis){.label = "state (bytes a sequence)", .base = 2, .low = INFINITY};
    for (int r = 0; r < summary->count; r++) {
        const Row *row = &summary->rows[r];
        if (!(row->state_bytes > 0)) continue;
        series_add_point(
            layout_series(layout_panel(&layout, study, row, chart), row->name, SERIES_MEAN),
            (ChartPoint){row->state_bytes, row->mean, NAN, NAN});
        chart->x.low = fmin(chart->x.low, row->state_bytes / 1.35);
        chart->x.high = fmax(chart->x.high, row->state_bytes * 1.35);
    }
    overlay_states(&layout, published, chart);
    layout_sort(chart);
    if (chart->y.base) chart_share_range(chart, true, &chart->y);
}

static const Figure figures[] = {
    {"accuracy", "Test metric against what tells the cases apart", metric},
    {"frequency", "Test perplexity against how often a token came in training", by_frequency},
    {"labels", "Test accuracy against the number of labels of the sample", by_labels},
    {"learning", "Validation metric against training FLOPs", learning},
    {"length", "Test accuracy against the length of the sample", by_length},
    {"position", "Test perplexity against the tokens seen before", by_position},
    {"seconds", "Seconds a cell", seconds},
    {"state", "Test metric against the state's size", by_state},
    {"tuning", "Validation metric against the tuned setting", tuning},
    {"width", "Test accuracy against width, by the number of labels of the sample", by_width},
};

const Figure *figure_list(int *count) {
    *count = sizeof figures / sizeof *figures;
    return figures;
}

/* A series has the style of its architecture's name; the suite's own names have theirs from the
 * rows. */
static void style_names(const Summary *summary, Chart *chart) {
    for (int p = 0; p < chart->count; p++)
        for (int s = 0; s < chart->panels[p].count; s++) {
            Series *series = &chart->panels[p].series[s];
            for (int r = 0; r < summary->count; r++)
                if (!strcmp(series->model, summary->rows[r].name))
                    series->slot = summary->rows[r].slot;
        }
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
    const char *budget = study->count ? study_value(&study->records[0], "budget") : "-";
    bool one_task = true, one_budget = true;
    for (int i = 1; i < study->count; i++) {
        one_task &= !strcmp(study->records[i].task, study->records[0].task);
        one_budget &= !strcmp(study_value(&study->records[i], "budget"), budget);
    }
    char what[96];
    snprintf(what, sizeof what, "suite %s", study->suite);
    if (one_task) study_tasks(study, what, sizeof what);
    snprintf(chart.note, sizeof chart.note, "%s, preset %s, budget %s a cell, %d seed%s", what,
             study->preset, one_budget ? budget : "by case", most, most == 1 ? "" : "s");
    figure->build(study, summary, published, &chart);
    style_names(summary, &chart);
    return chart;
}
