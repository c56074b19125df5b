/* What a command evaluates or exports: the settings and weights that training left in a cell's
 * folder, finished or with a checkpoint, or those of files. Nothing in the folder is changed. */
#ifndef LONGHAUL_RUN_FOLDER_H
#define LONGHAUL_RUN_FOLDER_H

#include "bench/cli/command.h"
#include "bench/train/checkpoint.h"

/* Appends the settings of --config, if it was given. */
Status settings_from_file(Settings *settings, const Flags *flags, Error *error);

/* Appends the settings of the folder RUN (the first argument, if there is one) or of --config; the
 * command line's are left to the caller. *weights: of --weights, where the path is all that is
 * known (step -1), or of RUN's last checkpoint; path "" where neither was given. STATUS_DATA: files
 * that are missing, changed, or of another cell than config.yaml describes to this version of the
 * program; --force takes weights of another cell. */
Status run_source(const Invocation *invocation, Settings *settings, CheckpointWeights *weights,
                  Error *error);

#endif
