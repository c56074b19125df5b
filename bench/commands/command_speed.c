/* longhaul speed: training step, prefill and decoding of whole models over length and width, or
 * generation over the size of the batch. */
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#include "bench/cli/command.h"
#include "bench/common/terminal.h"
#include "bench/speed/speed_figure.h"
#include "engine/file.h"

/* Rows appear as they are measured: the heading before the first. */
static void show_row(const SpeedReport *report, const SpeedRow *row) {
    if (row == report->rows) speed_print_heading(report, stdout);
    speed_print_row(report, row, stdout);
    fflush(stdout);
}

static Status draw(const SpeedReport *report, const Flags *flags, Error *error) {
    char folder[PATH_MAX];
    SpeedPublished published;
    if (path_join(folder, flags->plots, "speed", error) != STATUS_OK) return error->status;
    Status status = speed_published_read(&published, error);
    for (int i = 0; i < SPEED_CHARTS && status == STATUS_OK; i++) {
        Chart chart = speed_chart(report, &published, i);
        status = chart_show(&chart, folder, flags->ascii, error);
        chart_free(&chart);
    }
    speed_published_free(&published);
    return status;
}

static Status output(const SpeedReport *report, const Flags *flags, Error *error) {
    if (flags->output[0] && speed_write(report, flags->output, error) != STATUS_OK)
        return error->status;
    switch (flag_format(flags)) {
    case FORMAT_CSV:
        speed_csv(report, stdout);
        break;
    case FORMAT_JSON:
        if (speed_write(report, "-", error) != STATUS_OK) return error->status;
        break;
    default:
        if (!report->generated) speed_print_crossovers(report, stdout);
        break;
    }
    return flags->plot || flags->ascii ? draw(report, flags, error) : STATUS_OK;
}

static Status speed(const Invocation *invocation, Error *error) {
    const Flags *flags = &invocation->flags;
    const FlagFormat format = flag_format(flags);
    if (format == FORMAT_MARKDOWN || format == FORMAT_TEX)
        return error_set(error, STATUS_USAGE, "speed can be printed as console, csv or json");
    const SpeedRequest request = {.models = flags->model,
                                  .against = flags->against,
                                  .device = flag_device(flags),
                                  .settings = &invocation->settings,
                                  .threads = flag_threads(flags),
                                  .generate = flags->generate,
                                  .seconds = flags->seconds,
                                  .limit = flags->limit,
                                  .progress = terminal_rewrites(STDERR_FILENO) && !flags->quiet,
                                  .row_done = format == FORMAT_CONSOLE ? show_row : NULL};
    SpeedReport report;
    Status status = speed_grid(&report, &request, error);
    /* What was measured before an interruption is worth as much. */
    if (status == STATUS_OK || status == STATUS_INTERRUPTED) {
        Error failure = {0};
        const Status written = output(&report, flags, &failure);
        if (written != STATUS_OK && status == STATUS_OK)
            status = error_set(error, written, "%s", failure.message);
    }
    speed_report_free(&report);
    return status;
}

const Command command_speed = {
    .name = "speed",
    .arguments = "key=value ...",
    .summary = "time training step, prefill and decoding of whole models over length and width",
    .detail =
        "Settings as for `longhaul train`; width and length may be lists (length=1024,4096), and\n"
        "every model that --model lets through is measured at each of them. Without settings: "
        "MQAR\n"
        "with 8 pairs and 256 ids, width 64, lengths 64 to 131072, 16384 tokens a step (one\n"
        "sequence where that is longer). Columns: time of one optimiser step, tokens a second,\n"
        "share of the peak multiply-add rate, microseconds a token of a forward pass and of\n"
        "decoding the last token of one sequence, share of the step outside kernels, memory as\n"
        "planned and as the system saw it, state of one sequence. Then the length from which on\n"
        "each model's token is cheaper than that of --against. A case that does not fit in "
        "memory,\n"
        "or whose step would take longer than --limit seconds, is skipped with its reason.\n"
        "With --device cuda the peak is the GPU's (of the products= that are set), the overhead is "
        "the\n"
        "time it has nothing to do, and the second memory is what its driver counts.\n"
        "--plot draws PLOTS/speed/time, memory and state; --output is for `longhaul compare`.\n"
        "\n"
        "--generate N times generation instead: a pass over a batch of prompts, then N tokens of\n"
        "each sequence, one at a time. Without settings: prompts of 2048 (length=), batches of 1 "
        "to\n"
        "128 (batch=1,8,64). Columns: tokens a second, prompts included and without them, the\n"
        "prompts' share of the time, memory, state of one sequence at its end. --plot draws\n"
        "PLOTS/speed/generation.",
    .flags =
        "model against device threads seconds limit generate format csv json output plot plots "
        "ascii quiet",
    .takes_settings = true,
    .run = speed,
};
