/* longhaul export: one training step for other tools. */
#include <stdio.h>

#include "bench/cli/command.h"
#include "bench/commands/run_folder.h"
#include "bench/train/export.h"

static Status export(const Invocation *invocation, Error *error) {
    const Flags *flags = &invocation->flags;
    if (!flags->output[0])
        return error_set(error, STATUS_USAGE, "say where to: --output FILE.safetensors");
    Cell cell = {0};
    Settings settings = {0};
    CheckpointWeights weights;
    Status status = run_source(invocation, &settings, &weights, error);
    if (status == STATUS_OK) status = settings_add_all(&settings, &invocation->settings, error);
    if (status == STATUS_OK) status = cell_build(&cell, &settings, error);
    if (status == STATUS_OK)
        status = export_step(&cell, weights.path, flags->output, flag_threads(flags), error);
    if (status == STATUS_OK) printf("%s\n", flags->output);
    cell_close(&cell);
    settings_free(&settings);
    return status;
}

const Command command_export = {
    .name = "export",
    .arguments = "[RUN]",
    .summary = "write weights, one batch, loss and every gradient as safetensors",
    .detail =
        "RUN is a cell's folder: its settings and the weights of its last checkpoint. Without\n"
        "it, settings as for `longhaul train` and the initial weights. --weights FILE takes\n"
        "those instead, key=value changes a setting (batch=2). Dropout is off.",
    .flags = "config force output threads weights",
    .most_arguments = 1,
    .takes_settings = true,
    .run = export,
};
