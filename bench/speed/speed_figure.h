/* The figures of `longhaul speed`: time a token, memory and state against length, or generated
 * tokens a second against the size of the batch. */
#ifndef LONGHAUL_SPEED_FIGURE_H
#define LONGHAUL_SPEED_FIGURE_H

#include "bench/report/chart.h"
#include "bench/speed/speed_grid.h"
#include "bench/speed/speed_published.h"

enum { SPEED_CHARTS = 4 };

/* The chart of that number; without panels when there is nothing to show. Free with chart_free. */
Chart speed_chart(const SpeedReport *report, const SpeedPublished *published, int number);

#endif
