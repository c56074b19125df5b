/* Other programs, run as child processes: curl to download, zstd to unpack. */
#ifndef LONGHAUL_PROCESS_H
#define LONGHAUL_PROCESS_H

#include <stdbool.h>
#include <sys/types.h>

#include "engine/status.h"

typedef struct Process {
    pid_t pid;
    int output; /* its standard output, to read from; -1 when that is not captured */
} Process;

/* Starts words[0], looked for in PATH, with the arguments words[1] .. NULL and no standard input.
 * Without `capture` its standard output goes to standard error, because ours is for data. A program
 * that is not installed: STATUS_DATA, naming it. */
Status process_start(Process *process, const char *const *words, bool capture, Error *error);

/* Closes the output and waits. The exit status, or 128 + the number of the signal that ended it. */
int process_wait(Process *process);

#endif
