/* The command line: words to an Invocation. */
#ifndef LONGHAUL_CLI_H
#define LONGHAUL_CLI_H

#include <stdio.h>

#include "bench/cli/command.h"

/* Flags: defaults, then the environment (LONGHAUL_NAME), then --name value or --name=value; a
 * switch stands alone or takes =yes or =no. Everything with '=' is a setting where the command
 * takes settings; "--" ends the flags. STATUS_USAGE names what is wrong and the nearest known word.
 */
Status cli_parse(Invocation *invocation, int count, char **words, Error *error);
void cli_free(Invocation *invocation);

/* A command line that asks `command` for the same: the first argument, the settings, and the flags
 * that are not as by default, wherever they came from; `without` names those that are left out.
 * Words are quoted for a shell. */
void cli_write(const Invocation *invocation, const Command *command, const char *without,
               FILE *out);
/* One word, in single quotes where a shell would read something into it. */
void cli_write_word(const char *word, FILE *out);

/* True when the command takes this flag. */
bool command_takes(const Command *command, const char *flag);

/* "LONGHAUL_DRY_RUN" for "dry-run". */
enum { VARIABLE_BYTES = 64 };
void flag_variable(const Option *flag, char name[VARIABLE_BYTES]);

#endif
