/* longhaul plot: the figures of a suite. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/cli/command.h"
#include "bench/report/figure.h"
#include "engine/file.h"

/* Draws every figure that has something to show. A picture that fails does not keep the others'
 * points from being written; the first error counts. */
static Status draw_figures(const Study *study, const Published *published, const Flags *flags,
                           Error *error) {
    char folder[PATH_MAX];
    Status status = path_join(folder, flags->plots, study->suite, error);
    if (status != STATUS_OK) return status;
    Summary summary = study_summarise(study);
    int count;
    const Figure *figures = figure_list(&count);
    for (int i = 0; i < count; i++) {
        Chart chart = figure_chart(&figures[i], study, &summary, published);
        Error failure = {0};
        if (status == STATUS_OK || flags->ascii)
            chart_show(&chart, folder, flags->ascii, &failure);
        else if (chart.count > 0)
            chart_write_data(&chart, folder, &failure);
        chart_free(&chart);
        if (failure.status && !status) {
            status = error_set(error, failure.status, "%s", failure.message);
        }
    }
    summary_free(&summary);
    return status;
}

static Status command(const Invocation *invocation, Error *error) {
    const SuiteRequest request = suite_request(invocation);
    Suite suite;
    Study study;
    Published published = {0};
    int damaged;
    Status status = suite_open(&suite, &request, error);
    if (status != STATUS_OK) return status;
    status = study_open(&study, &suite, invocation->flags.results, &damaged, error);
    if (status == STATUS_OK) status = published_open(suite.published, &published, error);
    if (status == STATUS_OK) status = draw_figures(&study, &published, &invocation->flags, error);
    published_free(&published);
    study_close(&study);
    suite_close(&suite);
    return status;
}

const Command command_plot = {
    .name = "plot",
    .arguments = "SUITE|FILE",
    .summary = "the figures of a suite from the cells that have finished",
    .detail = "PLOTS/SUITE/NAME.{svg,png,pdf}, and NAME.dat with the points; --ascii draws with\n"
              "text and needs no gnuplot. Give the flags and settings of the sweep: they say\n"
              "which cells belong to it.",
    .flags = "ascii budget device model plots preset results seeds task",
    .least_arguments = 1,
    .most_arguments = 1,
    .takes_settings = true,
    .run = command,
};
