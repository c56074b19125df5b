/* longhaul compare: verdicts on files of measured times. */
#include <stdlib.h>

#include "bench/command.h"
#include "bench/compare.h"

static Status print(const ComparisonReport *report, const Flags *flags, Error *error) {
    switch (flag_format(flags)) {
    case FORMAT_CONSOLE:
        comparison_print(report, stdout);
        return STATUS_OK;
    case FORMAT_CSV:
        comparison_csv(report, stdout);
        return STATUS_OK;
    default:
        return error_set(error, STATUS_USAGE, "a comparison can be printed as console or csv");
    }
}

static Status compare(const Invocation *invocation, Error *error) {
    const int count = invocation->argument_count;
    const Flags *flags = &invocation->flags;
    if (count % 2)
        return error_set(error, STATUS_USAGE,
                         "%d files: they come in pairs, BASE NEW BASE NEW ..., as they were "
                         "measured in turn",
                         count);
    MeasuredFile *files = calloc((size_t)count, sizeof *files);
    ComparisonReport report = {0};
    Status status = STATUS_OK;
    for (int i = 0; i < count && status == STATUS_OK; i++)
        status = measured_read(&files[i], invocation->arguments[i], error);
    if (status == STATUS_OK)
        status = compare_files(&report, files, count, flags->threshold, flags->force, error);
    if (status == STATUS_OK) status = print(&report, flags, error);
    if (status == STATUS_OK && report.verdicts[VERDICT_SLOWER])
        status = error_set(error, STATUS_REGRESSION, "%d of %d cases are slower",
                           report.verdicts[VERDICT_SLOWER], report.count);
    comparison_free(&report);
    for (int i = 0; i < count; i++) measured_close(&files[i]);
    free(files);
    return status;
}

const Command command_compare = {
    .name = "compare",
    .arguments = "BASE NEW [BASE NEW ...]",
    .summary = "is NEW faster, the same or slower than BASE? exit 3 on a regression",
    .detail =
        "Files of `longhaul kernels --output` or `longhaul speed --output`; several pairs are\n"
        "rounds that were measured in turn, A B A B. A case is called slower or faster only\n"
        "when the 95 % interval of the ratio of medians lies beyond --threshold, the same\n"
        "when it lies within, otherwise uncertain. Different machines, thread counts or work\n"
        "under one name are refused unless --force is given. bench/regress.sh REVISION does\n"
        "the whole: build both, measure in turn, compare.",
    .flags = "threshold force format csv",
    .least_arguments = 2,
    .most_arguments = 200,
    .run = compare,
};
