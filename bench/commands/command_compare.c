/* longhaul compare: verdicts on files of measured times. */
#include <stdlib.h>
#include <string.h>

#include "bench/cli/command.h"
#include "bench/speed/compare.h"
#include "engine/memory.h"

static Status check_pairs(const Invocation *invocation, Error *error) {
    const int count = invocation->argument_count;
    if (count % 2 == 0) return STATUS_OK;
    return error_set(
        error, STATUS_USAGE,
        "%d files cannot be paired; expected: longhaul compare BASE NEW [BASE NEW ...] "
        "in the order of measuring",
        count);
}

/* Another compiler or other flags are a fair thing to compare, if one knows. */
static void print_builds(const MeasuredFile *base, const MeasuredFile *news) {
    if (strcmp(base->build, news->build) == 0) return;
    fprintf(stderr, "note: built differently: %s with '%s', %s with '%s'\n", base->path,
            base->build, news->path, news->build);
}

static Status compare(const Invocation *invocation, Error *error) {
    const int count = invocation->argument_count;
    const double threshold = invocation->flags.threshold;
    ComparisonReport report = {0};
    Status status = check_pairs(invocation, error);
    MeasuredFile *files = memory_take_zeroed((size_t)count, sizeof *files);
    for (int i = 0; i < count && status == STATUS_OK; i++)
        status = measured_read(&files[i], invocation->arguments[i], error);
    if (status == STATUS_OK)
        status =
            compare_reports(&report, files, count / 2, threshold, invocation->flags.force, error);
    if (status == STATUS_OK) {
        comparison_print(&report, threshold, stdout);
        print_builds(&files[0], &files[1]);
        if (report.verdicts[VERDICT_SLOWER])
            status = error_set(error, STATUS_REGRESSION, "%d of %d cases are slower",
                               report.verdicts[VERDICT_SLOWER],
                               report.count - report.verdicts[VERDICT_CHANGED]);
    }
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
        "Files of `longhaul kernels --output` or `longhaul speed --output`, several rounds in the\n"
        "order of measuring. A case is called slower or faster only when the 95 % interval of the\n"
        "ratio of medians lies beyond --threshold, the same when it lies within, otherwise\n"
        "uncertain. A case whose work differs (shapes, FLOPs, task version) is listed as changed\n"
        "and not compared. --force compares it, and reports of\n"
        "different machines or thread counts. bench/regress.sh builds and measures two revisions.",
    .flags = "threshold force",
    .least_arguments = 2,
    .most_arguments = 128,
    .run = compare,
};
