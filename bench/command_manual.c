/* longhaul manual and longhaul completion: the same tables as troff and as a shell function. */
#include <stdio.h>
#include <string.h>

#include "bench/cli.h"

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

static void complete_command(const Command *command) {
    printf("    %s) words=\"", command->name);
    for (int i = 0; i < flag_table.count; i++)
        if (command_takes(command, flag_table.options[i].name))
            printf("--%s ", flag_table.options[i].name);
    if (command->takes_settings)
        printf("$(longhaul list settings 2>/dev/null | sed 's/ .*/=/') task= model=");
    if (strncmp(command->arguments, "SUITE", 5) == 0)
        printf(" $(longhaul list suites 2>/dev/null | sed 's/ .*//')");
    printf("\" ;;\n");
}

static void complete_choices(void) {
    for (int i = 0; i < flag_table.count; i++) {
        const Option *flag = &flag_table.options[i];
        if (flag->choices)
            printf(
                "    --%s) COMPREPLY=($(compgen -W \"$(echo '%s' | tr '|' ' ')\" -- \"$word\")); "
                "return ;;\n",
                flag->name, flag->choices);
    }
}

static Status completion(const Invocation *invocation, Error *error) {
    if (strcmp(invocation->arguments[0], "bash") != 0)
        return error_set(error, STATUS_USAGE, "no completion for '%s'; expected bash",
                         invocation->arguments[0]);
    printf("# bash completion of longhaul; made by: longhaul completion bash\n"
           "_longhaul() {\n  local word=${COMP_WORDS[COMP_CWORD]} words=\n"
           "  case ${COMP_WORDS[COMP_CWORD-1]} in\n");
    complete_choices();
    printf("  esac\n  if [ \"$COMP_CWORD\" = 1 ]; then words=\"");
    int count;
    const Command *const *commands = command_all(&count);
    for (int i = 0; i < count; i++) printf("%s ", commands[i]->name);
    printf("--version\"\n  else case ${COMP_WORDS[1]} in\n");
    for (int i = 0; i < count; i++) complete_command(commands[i]);
    printf("  esac; fi\n  COMPREPLY=($(compgen -W \"$words\" -- \"$word\"))\n"
           "  [[ ${COMPREPLY-} == *= ]] && compopt -o nospace\n}\n"
           "complete -o default -F _longhaul longhaul\n");
    return STATUS_OK;
}

const Command command_completion = {
    .name = "completion",
    .arguments = "bash",
    .summary = "a completion script for the shell",
    .detail = "",
    .flags = "",
    .least_arguments = 1,
    .most_arguments = 1,
    .run = completion,
};
