#include "bench/cli/cli.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/memory.h"
#include "engine/word.h"

#define COMMAND(name) extern const Command command_##name;
#include "bench/cli/commands.def"
#undef COMMAND

const Command *const *command_all(int *count) {
    static const Command *const commands[] = {
#define COMMAND(name) &command_##name,
#include "bench/cli/commands.def"
#undef COMMAND
    };
    *count = (int)(sizeof commands / sizeof *commands);
    return commands;
}

const Command *command_find(const char *name) {
    int count;
    const Command *const *commands = command_all(&count);
    for (int i = 0; i < count; i++)
        if (strcmp(commands[i]->name, name) == 0) return commands[i];
    return NULL;
}

/* words: separated by blanks. */
static bool is_among(const char *wanted, const char *words) {
    const size_t length = strlen(wanted);
    for (const char *at = words; *at;) {
        const size_t word = strcspn(at, " ");
        if (word == length && strncmp(at, wanted, word) == 0) return true;
        at += word + strspn(at + word, " ");
    }
    return false;
}

bool command_takes(const Command *command, const char *flag) {
    return is_among(flag, command->flags);
}

void flag_variable(const Option *flag, char name[VARIABLE_BYTES]) {
    int length = snprintf(name, VARIABLE_BYTES, "LONGHAUL_");
    for (const char *at = flag->name; *at && length < VARIABLE_BYTES - 1; at++)
        name[length++] = *at == '-' ? '_' : (char)toupper((unsigned char)*at);
    name[length] = '\0';
}

static Status from_environment(Invocation *invocation, Error *error) {
    for (int i = 0; i < flag_table.count; i++) {
        const Option *flag = &flag_table.options[i];
        char variable[VARIABLE_BYTES];
        flag_variable(flag, variable);
        const char *value = getenv(variable);
        if (!value || !*value || !command_takes(invocation->command, flag->name)) continue;
        if (option_set(&flag_table, &invocation->flags, flag->name, value, error) != STATUS_OK)
            return error_context(error, "environment variable %s", variable);
    }
    return STATUS_OK;
}

static Status unknown_flag(const Command *command, const char *name, Error *error) {
    Nearest nearest = {.wanted = name};
    for (int i = 0; i < flag_table.count; i++)
        if (command_takes(command, flag_table.options[i].name))
            nearest_offer(&nearest, flag_table.options[i].name);
    char advice[OPTION_TEXT_BYTES];
    nearest_advice(&nearest, advice, sizeof advice);
    return error_set(error, STATUS_USAGE, "longhaul %s takes no flag --%s%s (longhaul help %s)",
                     command->name, name, advice, command->name);
}

/* words[0] begins with "--". *used: how many words belong to it. */
static Status parse_flag(Invocation *invocation, char **words, int count, int *used, Error *error) {
    char name[64];
    const char *text = words[0] + 2, *equals = strchr(text, '=');
    snprintf(name, sizeof name, "%.*s", equals ? (int)(equals - text) : (int)strlen(text), text);
    const Option *flag = option_find(&flag_table, name);
    if (!flag || !command_takes(invocation->command, name))
        return unknown_flag(invocation->command, name, error);
    const char *value = equals ? equals + 1 : NULL;
    *used = 1;
    if (!value && flag->type == OPTION_SWITCH) {
        value = "yes";
    } else if (!value) {
        if (count < 2)
            return error_set(error, STATUS_USAGE, "--%s needs a value (%s)", name, flag->help);
        value = words[1];
        *used = 2;
    }
    if (option_set(&flag_table, &invocation->flags, name, value, error) == STATUS_OK)
        return STATUS_OK;
    return error_context(error, "flag --%s", name);
}

static Status unknown_command(const char *name, Error *error) {
    Nearest nearest = {.wanted = name};
    int count;
    const Command *const *commands = command_all(&count);
    for (int i = 0; i < count; i++) nearest_offer(&nearest, commands[i]->name);
    char advice[OPTION_TEXT_BYTES];
    nearest_advice(&nearest, advice, sizeof advice);
    return error_set(error, STATUS_USAGE, "unknown command '%s'%s (longhaul help)", name, advice);
}

static Status check_arguments(const Invocation *invocation, Error *error) {
    const Command *command = invocation->command;
    const int count = invocation->argument_count;
    if (count >= command->least_arguments && count <= command->most_arguments) return STATUS_OK;
    if (count > command->most_arguments)
        return error_set(
            error, STATUS_USAGE, "'%s' is one argument too many; expected: longhaul %s %s",
            invocation->arguments[command->most_arguments], command->name, command->arguments);
    return error_set(error, STATUS_USAGE, "an argument is missing; expected: longhaul %s %s",
                     command->name, command->arguments);
}

static bool asks_for_help(int count, char **words) {
    for (int i = 0; i < count && strcmp(words[i], "--") != 0; i++)
        if (strcmp(words[i], "--help") == 0 || strcmp(words[i], "-h") == 0) return true;
    return false;
}

/* longhaul COMMAND ... --help is longhaul help COMMAND; without a command, longhaul help. */
static Status turn_into_help(Invocation *invocation) {
    const Command *about = invocation->command;
    invocation->command = command_find("help");
    if (!about) return STATUS_OK;
    invocation->arguments[0] = (char *)about->name;
    invocation->argument_count = 1;
    return STATUS_OK;
}

static Status parse_words(Invocation *invocation, int count, char **words, Error *error) {
    Status status = from_environment(invocation, error);
    bool flags_over = false;
    for (int i = 0, used = 1; i < count && status == STATUS_OK; i += used, used = 1) {
        char *word = words[i];
        if (!flags_over && strcmp(word, "--") == 0)
            flags_over = true;
        else if (!flags_over && strncmp(word, "--", 2) == 0)
            status = parse_flag(invocation, words + i, count - i, &used, error);
        else if (!flags_over && word[0] == '-' && word[1])
            status = error_set(error, STATUS_USAGE,
                               "unknown flag %s; flags are words, such as --jobs 2", word);
        else if (invocation->command->takes_settings && strchr(word, '='))
            status = settings_parse(&invocation->settings, word, "command line", error);
        else
            invocation->arguments[invocation->argument_count++] = word;
    }
    return status == STATUS_OK ? check_arguments(invocation, error) : status;
}

Status cli_parse(Invocation *invocation, int count, char **words, Error *error) {
    *invocation = (Invocation){.program = words[0]};
    option_defaults(&flag_table, &invocation->flags);
    invocation->arguments = memory_take_zeroed((size_t)count + 1, sizeof *invocation->arguments);
    if (count < 2)
        return error_set(error, STATUS_USAGE, "no command given; longhaul help lists them");
    if (words[1][0] != '-') {
        invocation->command = command_find(words[1]);
        if (!invocation->command) return unknown_command(words[1], error);
    }
    if (asks_for_help(count - 1, words + 1)) return turn_into_help(invocation);
    if (!invocation->command)
        return error_set(
            error, STATUS_USAGE,
            "the command comes first; expected: longhaul COMMAND [key=value] [--flag]");
    return parse_words(invocation, count - 2, words + 2, error);
}

void cli_write_word(const char *word, FILE *out) {
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                "0123456789_=,./:+-";
    if (*word && !word[strspn(word, plain)]) {
        fputs(word, out);
        return;
    }
    fputc('\'', out);
    for (; *word; word++) fputs(*word == '\'' ? "'\\''" : (char[]){*word, '\0'}, out);
    fputc('\'', out);
}

static void write_setting(const char *key, const char *value, FILE *out) {
    char word[sizeof((Setting *)0)->key + sizeof((Setting *)0)->value];
    snprintf(word, sizeof word, "%s=%s", key, value);
    fputc(' ', out);
    cli_write_word(word, out);
}

void cli_write(const Invocation *invocation, const Command *command, const char *without,
               FILE *out) {
    const char *data = getenv("LONGHAUL_DATA");
    Flags standard;
    option_defaults(&flag_table, &standard);
    cli_write_word(command->name, out);
    for (int i = 0; i < invocation->argument_count; i++) {
        fputc(' ', out);
        cli_write_word(invocation->arguments[i], out);
    }
    for (int i = 0; i < invocation->settings.count; i++)
        write_setting(invocation->settings.list[i].key, invocation->settings.list[i].value, out);
    if (data) write_setting("data.dir", data, out);
    for (int i = 0; i < flag_table.count; i++) {
        const Option *flag = &flag_table.options[i];
        char own[OPTION_VALUE_BYTES], usual[OPTION_VALUE_BYTES];
        option_text(flag, &invocation->flags, own);
        option_text(flag, &standard, usual);
        if (strcmp(own, usual) == 0 || !command_takes(command, flag->name) ||
            is_among(flag->name, without))
            continue;
        fprintf(out, " --%s", flag->name);
        if (flag->type == OPTION_SWITCH) continue;
        fputc(' ', out);
        cli_write_word(own, out);
    }
}

void cli_free(Invocation *invocation) {
    free(invocation->arguments);
    settings_free(&invocation->settings);
    *invocation = (Invocation){0};
}
