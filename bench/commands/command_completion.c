/* longhaul completion: the tables of commands and flags as a function of a shell. Names of settings
 * and suites are asked of the program when a word is completed, so that they are those of today. */
#include <stdio.h>
#include <string.h>

#include "bench/cli/cli.h"
#include "engine/word.h"

static const char setting_names[] = "longhaul list settings 2>/dev/null | sed 's/ .*/=/' | sort -u";
static const char suite_names[] = "longhaul list suites 2>/dev/null | sed 's/ .*//'";

static bool takes_suite(const Command *command) {
    return strncmp(command->arguments, "SUITE", 5) == 0;
}

/* "a|b" as "a b". */
static void print_choices(const char *choices) {
    for (; *choices; choices++) putchar(*choices == '|' ? ' ' : *choices);
}

static void print_flags(const Command *command, const char *end) {
    for (int i = 0; i < flag_table.count; i++)
        if (command_takes(command, flag_table.options[i].name))
            printf("--%s ", flag_table.options[i].name);
    fputs(end, stdout);
}

static void print_commands(void) {
    int count;
    const Command *const *commands = command_all(&count);
    for (int i = 0; i < count; i++) printf("%s ", commands[i]->name);
    printf("--version");
}

/* The words that may follow the command, as bash and zsh both write them. */
static void print_words(const Command *command) {
    printf("    %s) offers=\"", command->name);
    print_flags(command, "");
    if (command->takes_settings) printf("task= model= $(%s)", setting_names);
    if (takes_suite(command)) printf(" $(%s)", suite_names);
    printf("\" ;;\n");
}

/* A case of a flag's value: its choices, put between before and after. */
static void print_value_cases(const char *before, const char *after) {
    for (int i = 0; i < flag_table.count; i++) {
        const Option *flag = &flag_table.options[i];
        if (!flag->choices) continue;
        printf("    --%s) %s", flag->name, before);
        print_choices(flag->choices);
        puts(after);
    }
}

static void print_all_words(void) {
    int count;
    const Command *const *commands = command_all(&count);
    for (int i = 0; i < count; i++) print_words(commands[i]);
}

static void write_bash(void) {
    printf("# bash completion of longhaul; made by: longhaul completion bash\n"
           "_longhaul() {\n  local word=${COMP_WORDS[COMP_CWORD]} offers=\n"
           "  case ${COMP_WORDS[COMP_CWORD-1]} in\n");
    print_value_cases("COMPREPLY=($(compgen -W '", "' -- \"$word\")); return ;;");
    printf("  esac\n  if [ \"$COMP_CWORD\" = 1 ]; then offers=\"");
    print_commands();
    printf("\"\n  else case ${COMP_WORDS[1]} in\n");
    print_all_words();
    printf("  esac; fi\n  COMPREPLY=($(compgen -W \"$offers\" -- \"$word\"))\n"
           "  [[ ${COMPREPLY-} == *= ]] && compopt -o nospace\n}\n"
           "complete -o default -F _longhaul longhaul\n");
}

/* Works as a file _longhaul in a folder of $fpath, and sourced. */
static void write_zsh(void) {
    printf("#compdef longhaul\n"
           "# zsh completion of longhaul; made by: longhaul completion zsh\n"
           "_longhaul() {\n  local offers=\n"
           "  case ${words[CURRENT-1]} in\n");
    print_value_cases("compadd -- ", "; return ;;");
    printf("  esac\n  if (( CURRENT == 2 )); then offers=\"");
    print_commands();
    printf("\"\n  else case ${words[2]} in\n");
    print_all_words();
    printf("  esac; fi\n"
           "  compadd -- ${${=offers}:#*=}\n"
           "  compadd -S '' -- ${(M)${=offers}:#*=}\n"
           "  _files\n}\n"
           "if [ \"$funcstack[1]\" = _longhaul ]; then _longhaul \"$@\"; "
           "else compdef _longhaul longhaul; fi\n");
}

/* Single quotes, in which a shell reads nothing but their end. */
static void print_fish_text(const char *text) {
    putchar('\'');
    for (; *text; text++) {
        if (*text == '\'' || *text == '\\') putchar('\\');
        putchar(*text);
    }
    putchar('\'');
}

static void fish_command(const Command *command) {
    char after[128];
    snprintf(after, sizeof after, "complete -c longhaul -n '__fish_seen_subcommand_from %s' ",
             command->name);
    printf("complete -c longhaul -n __fish_use_subcommand -f -a %s -d ", command->name);
    print_fish_text(command->summary);
    putchar('\n');
    if (command->takes_settings) printf("%s -a \"task= model= (%s)\"\n", after, setting_names);
    if (takes_suite(command)) printf("%s -a \"(%s)\"\n", after, suite_names);
    for (int i = 0; i < flag_table.count; i++) {
        const Option *flag = &flag_table.options[i];
        if (!command_takes(command, flag->name)) continue;
        printf("%s -l %s -d ", after, flag->name);
        print_fish_text(flag->help);
        if (flag->choices) {
            printf(" -x -a '");
            print_choices(flag->choices);
            printf("'");
        } else if (flag->type != OPTION_SWITCH) {
            printf(" -r");
        }
        putchar('\n');
    }
}

static void write_fish(void) {
    int count;
    const Command *const *commands = command_all(&count);
    printf("# fish completion of longhaul; made by: longhaul completion fish\n"
           "complete -c longhaul -n __fish_use_subcommand -l version -f\n");
    for (int i = 0; i < count; i++) fish_command(commands[i]);
}

static const struct {
    const char *name;
    void (*write)(void);
} shells[] = {{"bash", write_bash}, {"fish", write_fish}, {"zsh", write_zsh}};

static Status completion(const Invocation *invocation, Error *error) {
    const char *wanted = invocation->arguments[0];
    Nearest nearest = {.wanted = wanted};
    for (size_t i = 0; i < sizeof shells / sizeof *shells; i++) {
        nearest_offer(&nearest, shells[i].name);
        if (strcmp(shells[i].name, wanted) != 0) continue;
        shells[i].write();
        return STATUS_OK;
    }
    char advice[64];
    nearest_advice(&nearest, advice, sizeof advice);
    return error_set(error, STATUS_USAGE, "no completion for '%s'%s; expected %s", wanted, advice,
                     invocation->command->arguments);
}

const Command command_completion = {
    .name = "completion",
    .arguments = "bash|fish|zsh",
    .summary = "a completion script for the shell",
    .detail = "bash: source <(longhaul completion bash), for instance in ~/.bashrc\n"
              "fish: longhaul completion fish >~/.config/fish/completions/longhaul.fish\n"
              "zsh:  longhaul completion zsh >_longhaul in a folder of $fpath, before compinit",
    .flags = "",
    .least_arguments = 1,
    .most_arguments = 1,
    .run = completion,
};
