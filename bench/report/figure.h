/* The figures of a suite: one list of descriptors, each a function from results to a chart. */
#ifndef LONGHAUL_FIGURE_H
#define LONGHAUL_FIGURE_H

#include "bench/report/chart.h"
#include "bench/report/published.h"
#include "bench/report/study.h"

typedef struct Figure {
    const char *name, *title;
    /* Fills an empty chart; leaves it without panels when the results have nothing to show. */
    void (*build)(const Study *study, const Summary *summary, const Published *published,
                  Chart *chart);
} Figure;

const Figure *figure_list(int *count);

/* Chart of a figure; name, title, note and the metric's range are set. Free with chart_free. */
Chart figure_chart(const Figure *figure, const Study *study, const Summary *summary,
                   const Published *published);

#endif
