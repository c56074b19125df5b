/* longhaul compare: verdicts on two kernel reports. */
#include "bench/command.h"
#include "bench/compare.h"

static Status compare(const Invocation *invocation, Error *error) {
    KernelFile base = {0}, news = {0};
    ComparisonReport report = {0};
    const double threshold = invocation->flags.threshold;
    Status status = kernels_read(&base, invocation->arguments[0], error);
    if (status == STATUS_OK) status = kernels_read(&news, invocation->arguments[1], error);
    if (status == STATUS_OK)
        status = compare_reports(&report, &base, &news, threshold, invocation->flags.force, error);
    if (status == STATUS_OK) {
        comparison_print(&report, threshold, stdout);
        if (report.verdicts[VERDICT_SLOWER])
            status = error_set(error, STATUS_REGRESSION, "%d of %d cases are slower",
                               report.verdicts[VERDICT_SLOWER], report.count);
    }
    comparison_free(&report);
    kernels_file_close(&base);
    kernels_file_close(&news);
    return status;
}

const Command command_compare = {
    .name = "compare",
    .arguments = "BASE NEW",
    .summary = "is NEW faster, the same or slower than BASE? exit 3 on a regression",
    .detail = "Both are files of `longhaul kernels --output`. A case is called slower or faster\n"
              "only when the 95 % interval of the ratio of medians lies beyond --threshold, the\n"
              "same when it lies within, otherwise uncertain. Measure both in turn, A B A B, on a\n"
              "quiet machine.",
    .flags = "threshold force",
    .least_arguments = 2,
    .most_arguments = 2,
    .run = compare,
};
