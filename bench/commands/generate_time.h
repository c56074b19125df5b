/* `longhaul generate TASK --time`: how fast samples are made, against how fast the quickest
 * architecture trains on them. */
#ifndef LONGHAUL_GENERATE_TIME_H
#define LONGHAUL_GENERATE_TIME_H

#include "bench/cli/command.h"

/* A row for each task that fits the pattern of the command's argument, one core. Tasks whose files
 * are missing, or that do not know a given setting, are named on standard error and left out;
 * STATUS_USAGE when none is left. */
Status generate_time(const Invocation *invocation, Error *error);

#endif
