/* longhaul kernels: the kernel benchmark. */
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "bench/cli/command.h"
#include "bench/common/terminal.h"
#include "bench/speed/kernels_figure.h"
#include "bench/speed/kernels_file.h"
#include "engine/device.h"
#include "engine/file.h"

static Status print(const KernelReport *report, const Flags *flags, Error *error) {
    switch (flag_format(flags)) {
    case FORMAT_CONSOLE:
        kernels_print(report, stdout);
        break;
    case FORMAT_CSV:
        kernels_csv(report, stdout);
        break;
    case FORMAT_JSON:
        if (kernels_write(report, "-", error) != STATUS_OK) return error->status;
        break;
    default:
        return error_set(error, STATUS_USAGE, "kernels can be printed as console, csv or json");
    }
    for (int i = 0; i < report->warning_count; i++)
        fprintf(stderr, "warning [%s]: %s\n", report->warnings[i].id, report->warnings[i].text);
    return STATUS_OK;
}

static Status draw(const KernelReport *report, const Flags *flags, Error *error) {
    char folder[PATH_MAX];
    if (path_join(folder, flags->plots, "kernels", error) != STATUS_OK) return error->status;
    Chart charts[] = {kernels_roofline(report), kernels_bars(report)};
    for (int i = 0; i < 2; i++) {
        if (error->status == STATUS_OK) chart_show(&charts[i], folder, flags->ascii, error);
        chart_free(&charts[i]);
    }
    return error->status;
}

/* "best", or the instruction set of that name. */
static Isa chosen_isa(const Flags *flags) {
    return flags->isa == 0 ? isa_best() : (Isa)(flags->isa - 1);
}

static Status kernels(const Invocation *invocation, Error *error) {
    const Flags *flags = &invocation->flags;
    const char *filter = invocation->argument_count ? invocation->arguments[0] : NULL;
    const KernelRequest request = {.device = flag_device(flags),
                                   .filter = filter,
                                   .isa = chosen_isa(flags),
                                   .threads = flag_threads(flags),
                                   .products = (Products)flags->products,
                                   .seconds = flags->seconds,
                                   .progress = terminal_rewrites(STDERR_FILENO) && !flags->quiet};
    if (flag_check_products(flags, error) != STATUS_OK) return error->status;
    KernelReport report;
    Status status = kernels_measure(&report, &request, error);
    if (status == STATUS_OK && flags->output[0])
        status = kernels_write(&report, flags->output, error);
    if (status == STATUS_OK) status = print(&report, flags, error);
    if (status == STATUS_OK && (flags->plot || flags->ascii)) status = draw(&report, flags, error);
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
              "`longhaul compare`. --plot draws PLOTS/kernels/roofline and fraction, --ascii\n"
              "prints them. With --device cuda rows of a size for GPUs are timed by the GPU's own\n"
              "clock, with its caches emptied before each sample; --products says what matrix\n"
              "products round their inputs to. Warnings go to standard error, each with its name "
              "in brackets.",
    .flags = "threads isa device products seconds format csv json output plot plots ascii quiet",
    .most_arguments = 1,
    .run = kernels,
};
