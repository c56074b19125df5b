/* longhaul help: everything that can be said is in the tables of commands, flags and settings. */
#include <stdio.h>
#include <string.h>

#include "bench/cli/cli.h"

static void print_flag(const Option *flag) {
    char usage[64], variable[VARIABLE_BYTES];
    static const char *const kinds[] = {[OPTION_INTEGER] = " N",
                                        [OPTION_REAL] = " X",
                                        [OPTION_SWITCH] = "",
                                        [OPTION_CHOICE] = " ",
                                        [OPTION_TEXT] = " TEXT"};
    snprintf(usage, sizeof usage, "--%s%s%s", flag->name, kinds[flag->type],
             flag->choices ? flag->choices : "");
    flag_variable(flag, variable);
    printf("  %-36s %s", usage, flag->help);
    if (flag->type != OPTION_SWITCH && flag->standard[0]) printf(" [%s]", flag->standard);
    printf("\n  %-36s   (%s)\n", "", variable);
}

static void print_overview(void) {
    printf("longhaul: which sequence architecture does a task best on the same compute budget?\n\n"
           "usage: longhaul COMMAND [key=value ...] [--flag ...]\n\n");
    int count;
    const Command *const *commands = command_all(&count);
    for (int i = 0; i < count; i++) printf("  %-12s %s\n", commands[i]->name, commands[i]->summary);
    printf(
        "\nlonghaul help COMMAND says more; longhaul list settings shows every key.\n"
        "Exit codes: 0 good, 1 some cells failed, 2 usage, 3 regression, 4 data missing or wrong,\n"
        "5 numeric failure, 74 input/output, 75 interrupted (run it again to continue).\n");
}

static void print_command(const Command *command) {
    printf("longhaul %s: %s\n\nusage: longhaul %s%s%s%s%s\n", command->name, command->summary,
           command->name, *command->arguments ? " " : "", command->arguments,
           command->takes_settings ? " [key=value ...]" : "",
           *command->flags ? " [--flag ...]" : "");
    if (*command->detail) printf("\n%s\n", command->detail);
    if (*command->flags) printf("\nflags, each with its environment variable:\n");
    for (int i = 0; i < flag_table.count; i++)
        if (command_takes(command, flag_table.options[i].name)) print_flag(&flag_table.options[i]);
}

static Status help(const Invocation *invocation, Error *error) {
    if (invocation->argument_count == 0) {
        print_overview();
        return STATUS_OK;
    }
    const char *name = invocation->arguments[0];
    const Command *command = command_find(name);
    if (command) {
        print_command(command);
        return STATUS_OK;
    }
    return error_set(error, STATUS_USAGE, "no command '%s' to help with (longhaul help)", name);
}

const Command command_help = {
    .name = "help",
    .arguments = "[COMMAND]",
    .summary = "this list, or what a command does and takes",
    .detail = "",
    .flags = "",
    .most_arguments = 1,
    .run = help,
};
