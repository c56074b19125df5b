/* The command line: words to an Invocation. */
#ifndef LONGHAUL_CLI_H
#define LONGHAUL_CLI_H

#include "bench/command.h"

/* Flags: defaults, then the environment (LONGHAUL_NAME), then --name value or --name=value; a
 * switch stands alone or takes =yes or =no. Everything with '=' is a setting where the command
 * takes settings; "--" ends the flags. STATUS_USAGE names what is wrong and the nearest known word.
 */
Status cli_parse(Invocation *invocation, int count, char **words, Error *error);
void cli_free(Invocation *invocation);

/* True when the command takes this flag. */
bool command_takes(const Command *command, const char *flag);

/* "LONGHAUL_DRY_RUN" for "dry-run". */
enum { VARIABLE_BYTES = 64 };
void flag_variable(const Option *flag, char name[VARIABLE_BYTES]);

#endif
