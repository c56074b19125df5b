#include "bench/commands/run_folder.h"

#include <stdio.h>
#include <string.h>

#include "bench/cell/cell.h"
#include "bench/cell/config.h"
#include "engine/file.h"

Status settings_from_file(Settings *settings, const Flags *flags, Error *error) {
    return flags->config[0] ? config_read(flags->config, settings, error) : STATUS_OK;
}

static Status read_settings(const char *folder, Settings *settings, Error *error) {
    char path[PATH_MAX];
    const Status status = path_join(path, folder, "config.yaml", error);
    if (status != STATUS_OK) return status;
    if (file_exists(path)) return config_read(path, settings, error);
    return error_set(error, STATUS_DATA,
                     "no %s; expected the folder of a cell, such as results/mqar/0123456789abcdef",
                     path);
}

static Status find_weights(const char *folder, const Settings *settings, bool any_cell,
                           CheckpointWeights *weights, Error *error) {
    Cell cell;
    char identity[sizeof weights->identity];
    Status status = checkpoint_weights(folder, weights, error);
    if (status == STATUS_OK) status = cell_build(&cell, settings, error);
    if (status != STATUS_OK) return status;
    cell_identity(&cell, identity);
    cell_close(&cell);
    if (any_cell || strcmp(identity, weights->identity) == 0) return STATUS_OK;
    return error_set(error, STATUS_DATA,
                     "%s: the checkpoint is of cell %s, and config.yaml is cell %s to this version "
                     "of the program: the file was changed, or versions differ in their numbers or "
                     "data; --force takes the weights all the same",
                     folder, weights->identity, identity);
}

Status run_source(const Invocation *invocation, Settings *settings, CheckpointWeights *weights,
                  Error *error) {
    const Flags *flags = &invocation->flags;
    const char *folder = invocation->argument_count > 0 ? invocation->arguments[0] : NULL;
    *weights = (CheckpointWeights){.step = -1};
    snprintf(weights->path, sizeof weights->path, "%s", flags->weights);
    if (!folder) return settings_from_file(settings, flags, error);
    if (flags->config[0])
        return error_set(error, STATUS_USAGE,
                         "'%s' and --config %s: settings come from one of them", folder,
                         flags->config);
    const Status status = read_settings(folder, settings, error);
    if (status != STATUS_OK || flags->weights[0]) return status;
    return find_weights(folder, settings, flags->force, weights, error);
}
