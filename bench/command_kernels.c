/* longhaul kernels: the kernel benchmark. */
#include "bench/command.h"
#include "bench/kernels_file.h"

static Status print(const KernelReport *report, const Invocation *invocation, Error *error) {
    switch ((FlagFormat)invocation->flags.format) {
    case FORMAT_CONSOLE:
        kernels_print(report, stdout);
        return STATUS_OK;
    case FORMAT_CSV:
        kernels_csv(report, stdout);
        return STATUS_OK;
    case FORMAT_JSON:
        return kernels_write(report, "/dev/stdout", error);
    default:
        return error_set(
            error, STATUS_USAGE,
            "kernels can be printed as console, csv or json; --output FILE writes json");
    }
}

static Status kernels(const Invocation *invocation, Error *error) {
    const Flags *flags = &invocation->flags;
    const char *filter = invocation->argument_count ? invocation->arguments[0] : NULL;
    KernelReport report;
    Status status =
        kernels_measure(&report, filter, isa_best(), (int)flags->threads, flags->seconds, error);
    if (status == STATUS_OK) status = print(&report, invocation, error);
    if (status == STATUS_OK && flags->output[0])
        status = kernels_write(&report, flags->output, error);
    kernels_free(&report);
    return status;
}

const Command command_kernels = {
    .name = "kernels",
    .arguments = "[PART OF A NAME]",
    .summary = "time every kernel against the roof of this machine",
    .detail = "Names are OPERATION/CASE/forward or backward. The roof (multiply-add rate,\n"
              "exponentials, bandwidth of each cache level) is measured in the same run; cases\n"
              "are sampled in turn, in changing order, and --output keeps every sample for\n"
              "`longhaul compare`.",
    .flags = "threads seconds format output",
    .most_arguments = 1,
    .run = kernels,
};
