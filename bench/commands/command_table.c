/* longhaul table: the table of a suite, printed and saved in every format. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/cli/command.h"
#include "bench/common/terminal.h"
#include "bench/report/average.h"
#include "bench/report/beside.h"
#include "bench/report/study.h"
#include "bench/report/table.h"
#include "engine/file.h"

/* Whether the locale's characters are UTF-8, by the variables that decide it, in their order. */
static bool unicode_terminal(void) {
    static const char *const names[] = {"LC_ALL", "LC_CTYPE", "LANG"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *value = getenv(names[i]);
        if (value && *value) return strcasestr(value, "utf-8") || strcasestr(value, "utf8");
    }
    return false;
}

static bool colour_terminal(void) {
    const char *refused = getenv("NO_COLOR");
    return terminal_rewrites(STDOUT_FILENO) && !(refused && *refused);
}

static Status show_table(const Study *study, Summary *summary, const Flags *flags, Error *error) {
    static const char *const formats[] = {
        [FORMAT_CONSOLE] = "console", [FORMAT_MARKDOWN] = "md", [FORMAT_CSV] = "csv",
        [FORMAT_TEX] = "tex",         [FORMAT_JSON] = "json",
    };
    char folder[PATH_MAX];
    Table table = table_build(study, summary);
    const TableStyle style = {.unicode = unicode_terminal(), .colour = colour_terminal()};
    exporter_find(formats[flags->format])->write(&table, &style, stdout);
    Status status = path_join(folder, flags->results, study->suite, error);
    if (status == STATUS_OK) status = table_save(&table, folder, error);
    if (status == STATUS_OK && !flags->quiet) {
        fprintf(stderr, "table: %s/table.{md,csv,tex,json}\n", folder);
    }
    table_free(&table);
    return status;
}

static Status table_of(const Suite *suite, const Study *study, const SuiteRequest *request,
                       const Flags *flags, Error *error) {
    Published published;
    AverageSources sources = {0};
    Status status = published_open(suite->published, &published, error);
    if (status == STATUS_OK)
        status = average_sources_open(&sources, suite, request, flags->results, error);
    if (status == STATUS_OK) {
        Summary summary = study_summarise(study);
        published_beside_rows(&summary, study, &published);
        averages_append(&summary, study, suite, &sources, &published);
        status = show_table(study, &summary, flags, error);
        summary_free(&summary);
    }
    average_sources_close(&sources);
    published_free(&published);
    return status;
}

static Status command(const Invocation *invocation, Error *error) {
    const SuiteRequest request = suite_request(invocation);
    const Flags *flags = &invocation->flags;
    Suite suite;
    Study study;
    int damaged;
    Status status = suite_open(&suite, &request, error);
    if (status != STATUS_OK) return status;
    status = study_open(&study, &suite, flags->results, &damaged, error);
    if (status == STATUS_OK) status = table_of(&suite, &study, &request, flags, error);
    if (status == STATUS_OK && damaged) {
        status = error_set(error, STATUS_DATA,
                           "%d damaged result file%s left out, named above; longhaul sweep %s "
                           "--force runs the cells again",
                           damaged, damaged == 1 ? "" : "s", suite.name);
    }
    study_close(&study);
    suite_close(&suite);
    return status;
}

const Command command_table = {
    .name = "table",
    .arguments = "SUITE|FILE",
    .summary = "the table of a suite from the cells that have finished",
    .detail = "Printed in --format, and saved as RESULTS/SUITE/table.{md,csv,tex,json}. Give the\n"
              "flags and settings of the sweep: they say which cells belong to it.",
    .flags = "budget device format model preset quiet results seeds task",
    .least_arguments = 1,
    .most_arguments = 1,
    .takes_settings = true,
    .run = command,
};
