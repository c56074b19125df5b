/* Where a row of the table stands in a figure: its panel, and its place along x. */
#ifndef LONGHAUL_LAYOUT_H
#define LONGHAUL_LAYOUT_H

#include "bench/report/chart.h"
#include "bench/report/study.h"

enum { LAYOUT_NAMES = 48, LAYOUT_MODELS = 48 };

typedef struct Layout {
    const Study *study;
    const Summary *summary;
    int axis;   /* of the study, along x; -1: there is one case, and models are the places */
    bool words; /* its values are words: places 1, 2, ... with names, models side by side */
    const char *names[LAYOUT_NAMES]; /* of the places, in the suite's order */
    int name_count;
    const char *models[LAYOUT_MODELS]; /* names, in the order of the palette */
    int slots[LAYOUT_MODELS];          /* their styles */
    int model_count;
} Layout;

/* The axis along x is the width where the suite has it (and, if it must, its values differ), else
 * the first whose values are different numbers, else the first whose values are different words,
 * else none. */
Layout layout_open(const Study *study, const Summary *summary, bool must_differ);

/* Name, base, range and place names of the chart's x axis. */
void layout_axis(const Layout *layout, Chart *chart);

/* x of a row; of another x among the numbers of that axis, for the model of that name. */
double layout_x(const Layout *layout, const Row *row);
double layout_x_of(const Layout *layout, const Row *row, const char *model, double number);

/* "length 64, pairs 4": the row's case without what lies along x (layout NULL: all of it). */
Panel *layout_panel(const Layout *layout, const Study *study, const Row *row, Chart *chart);
/* The same for test samples of so many labels alone: "4 labels, length 64". */
Panel *layout_labels_panel(const Layout *layout, const Study *study, const Row *row, int64_t labels,
                           Chart *chart);
Series *layout_series(Panel *panel, const char *model, SeriesKind kind);

/* Lines go from left to right; rows come best first. */
void layout_sort(Chart *chart);

#endif
