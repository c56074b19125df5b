/* longhaul export: one training step for other tools. */
#include <stdio.h>

#include "bench/command.h"
#include "bench/export.h"

static Status export(const Invocation *invocation, Error *error) {
    const Flags *flags = &invocation->flags;
    if (!flags->output[0])
        return error_set(error, STATUS_USAGE, "say where to: --output FILE.safetensors");
    Cell cell = {0};
    Status status = cell_build(&cell, &invocation->settings, error);
    if (status == STATUS_OK)
        status = export_step(&cell, flags->weights, flags->output, flag_threads(flags), error);
    if (status == STATUS_OK) printf("%s\n", flags->output);
    cell_close(&cell);
    return status;
}

const Command command_export = {
    .name = "export",
    .arguments = "key=value ...",
    .summary = "write weights, one batch, loss and every gradient as safetensors",
    .detail = "Settings as for `longhaul train`; --weights FILE starts from those instead of the\n"
              "initial weights. Dropout is off.",
    .flags = "weights output threads",
    .takes_settings = true,
    .run = export,
};
