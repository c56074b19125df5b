/* longhaul status: how far a sweep is. */
#include <stdlib.h>

#include "bench/cli/cli.h"
#include "bench/sweep/sweep.h"
#include "engine/memory.h"

static Status show(const Invocation *invocation, Error *error) {
    const SuiteRequest request = suite_request(invocation);
    const Flags *flags = &invocation->flags;
    Suite suite;
    Shard shard;
    Status status = sweep_shard(flags, &shard, error);
    if (status == STATUS_OK) status = suite_open(&suite, &request, error);
    if (status != STATUS_OK) return status;
    const SweepOptions options = sweep_options(flags, &shard);
    char *command = NULL;
    size_t bytes;
    FILE *text = memory_stream(&command, &bytes);
    fputs("longhaul ", text);
    cli_write(invocation, command_find("sweep"), "json", text);
    fclose(text);
    status = sweep_status(&suite, &options, command, flags->json, stdout, error);
    free(command);
    suite_close(&suite);
    return status;
}

const Command command_status = {
    .name = "status",
    .arguments = "SUITE|FILE",
    .summary = "how far a sweep is: done, running, stale, failed and why, time left, what to run",
    .detail = "Takes what the sweep was started with, so that it means the same cells.",
    .flags = "budget device jobs json model preset results seeds shard task threads",
    .least_arguments = 1,
    .most_arguments = 1,
    .takes_settings = true,
    .run = show,
};
