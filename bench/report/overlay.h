/* The papers' points laid over our own. */
#ifndef LONGHAUL_OVERLAY_H
#define LONGHAUL_OVERLAY_H

#include "bench/report/layout.h"
#include "bench/report/published.h"

/* Points of measured architectures that belong to a row's setting: the same task, and the same
 * value of everything that tells the suite's cases apart and that the source states. Where some
 * have all that they state from the row's own sizes, points of other sizes are left out. Dotted
 * lines, or open markers where places are words; the chart's sources name them and say what
 * differs. */
void overlay_metric(const Layout *layout, const Published *published, Chart *chart);

/* The same for panels that have the test samples of one number of labels each
 * (layout_labels_panel): a point stands where its pairs are as many. */
void overlay_labels(const Layout *layout, const Published *published, Chart *chart);

/* Points that state the bytes of a sequence's state, over an x axis of those, where models are
 * trained on a mixture of problems: open markers. */
void overlay_states(const Layout *layout, const Published *published, Chart *chart);

/* Points that state the length of the test, over an x axis of lengths. */
void overlay_lengths(const Layout *layout, const Published *published, Chart *chart);

#endif
