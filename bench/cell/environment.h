/* Where and with what a result was made. */
#ifndef LONGHAUL_ENVIRONMENT_H
#define LONGHAUL_ENVIRONMENT_H

#include <stdio.h>

/* Host, processor, instruction set in use, cores, memory, kernel, program version and revision,
 * compiler, libraries, as a new JSON object of strings and numbers. */
struct json_t *environment_json(void);

/* The same, one "name: value" line each: longhaul --version. */
void environment_print(FILE *out);

/* Processors that this process may run on, and how many of them a container's quota lets it keep
 * busy (at least 1, at most the first). */
int processors_allowed(void);
int processors_usable(void);

#endif
