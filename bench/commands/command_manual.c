/* longhaul manual: the tables of commands and flags as troff. */
#include <stdio.h>
#include <string.h>

#include "bench/cli/cli.h"

/* troff reads a leading dot or quote and a bare minus in a way of its own. */
static void print_troff(const char *text) {
    for (const char *at = text; *at; at++) {
        if ((at == text || at[-1] == '\n') && (*at == '.' || *at == '\'')) fputs("\\&", stdout);
        if (*at == '-' || *at == '\\') fputc('\\', stdout);
        if (*at == '\\') {
            fputc('e', stdout);
            continue;
        }
        fputc(*at, stdout);
    }
    fputc('\n', stdout);
}

static void manual_command(const Command *command) {
    printf(".TP\n.B longhaul %s\n", command->name);
    print_troff(command->arguments);
    printf(".br\n");
    print_troff(command->summary);
    if (*command->detail) {
        printf(".IP\n.nf\n");
        print_troff(command->detail);
        printf(".fi\n");
    }
    if (!*command->flags) return;
    printf(".IP\nFlags:\n");
    for (int i = 0; i < flag_table.count; i++)
        if (command_takes(command, flag_table.options[i].name))
            printf("\\-\\-%s\n", flag_table.options[i].name);
}

static Status manual(const Invocation *invocation, Error *error) {
    (void)invocation, (void)error;
    printf(".TH LONGHAUL 1 \"\" \"longhaul " LONGHAUL_VERSION "\"\n.SH NAME\n"
           "longhaul \\- compare sequence architectures on the same compute budget\n"
           ".SH SYNOPSIS\n.B longhaul\n.I COMMAND\n[key=value ...] [\\-\\-flag ...]\n"
           ".SH COMMANDS\n");
    int count;
    const Command *const *commands = command_all(&count);
    for (int i = 0; i < count; i++) manual_command(commands[i]);
    printf(".SH FLAGS\nEach can be given by the environment variable named with it.\n");
    for (int i = 0; i < flag_table.count; i++) {
        const Option *flag = &flag_table.options[i];
        char variable[VARIABLE_BYTES];
        flag_variable(flag, variable);
        printf(".TP\n.B \\-\\-%s\n", flag->name);
        print_troff(flag->help);
        if (flag->choices) printf("(%s)\n", flag->choices);
        if (flag->standard[0]) printf("[%s]\n", flag->standard);
        printf("%s\n", variable);
    }
    printf(".SH EXIT STATUS\n0 good, 1 some cells failed, 2 usage or configuration, 3 regression "
           "found,\n4 data missing or wrong, 5 numeric failure, 74 input or output failed,\n"
           "75 interrupted (running it again continues).\n");
    return STATUS_OK;
}

const Command command_manual = {
    .name = "manual",
    .arguments = "",
    .summary = "the manual page, as troff: longhaul manual | man -l -",
    .detail = "",
    .flags = "",
    .run = manual,
};
