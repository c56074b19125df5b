/* longhaul check: operations against references, models against the properties they share. */
#include <sys/stat.h>

#include "bench/check/check.h"
#include "bench/cli/command.h"

/* FLOPs of benchmark rows; 0: many. The emulation is some hundred times slower than a kernel of the
 * CPU, and ten times more where it looks for races, which no row shows for being large. */
static const double work_limits[] = {[DEVICE_CUDA_EMULATED] = 2e6, [DEVICE_CUDA_RACES] = 2e5};

static Status check(const Invocation *invocation, Error *error) {
    const Flags *flags = &invocation->flags;
    const char *device = flags->device == DEVICE_CPU ? NULL : flag_device(flags);
    if (flag_check_products(flags, error) != STATUS_OK) return error->status;
    Device opened = {0}; /* one message instead of one for each check */
    if (device && device_open(&opened, device, error) != STATUS_OK) return error->status;
    if (device) device_close(&opened);
    const CheckOptions options = {
        .device = device,
        .products = (Products)flags->products,
        .work_limit = work_limits[flags->device],
        .one_order = flags->device == DEVICE_CUDA_RACES, /* what is not ordered is found in any */
        .out = stdout,
        .filter = invocation->argument_count ? invocation->arguments[0] : NULL,
        .verbose = !invocation->flags.quiet,
    };
    CheckCount count = {0};
    struct stat facts;
    Status failed = STATUS_NUMERIC;
    if (options.filter && stat(options.filter, &facts) == 0 && S_ISDIR(facts.st_mode)) {
        failed = STATUS_DATA;
        if (check_runs(&options, options.filter, &count, error) != STATUS_OK) return error->status;
    } else {
        check_ops(&options, &count);
        /* tolerances of whole models are those of float32 */
        if (options.products == PRODUCTS_FLOAT) check_models(&options, &count);
    }
    printf("%d passed, %d failed, %d exempt\n", count.passed, count.failed, count.exempt);
    if (count.failed) return error_set(error, failed, "%d checks failed", count.failed);
    if (!count.passed)
        return error_set(error, STATUS_USAGE,
                         "no check has '%s' in its name; names are op/NAME/CASE/ISA and "
                         "model/NAME/PROPERTY, see `longhaul list ops` and `longhaul list models`",
                         options.filter);
    return STATUS_OK;
}

const Command command_check = {
    .name = "check",
    .arguments = "[PART OF A NAME | FOLDER]",
    .summary = "verify every operation and every model on this machine, or finished runs",
    .detail = "Operations: each row of the case tables, forward and gradient, against a plain\n"
              "double-precision reference, the same bits on 1, 2 and 3 threads, on every\n"
              "instruction set of this processor. Models: gradient against differences of the\n"
              "whole network in double precision, causality, prefix consistency, batch\n"
              "independence, indifference to padding, one-token form, equal bits, loss at the\n"
              "start, learning by heart.\n"
              "With --device cuda the same of the GPU; cuda-emulated runs its kernels on the CPU\n"
              "(make emulated), cuda-races does and looks for data races (make races).\n"
              "--products tf32 or bf16 lets the operations' matrix products round inputs, and\n"
              "allows the errors that this makes.\n"
              "A name selects: longhaul check model/mamba, longhaul check op/attention/L64.\n"
              "The folder of a cell or of a suite: configuration, log, checkpoint and result are\n"
              "whole, unchanged since they were written, and belong together.",
    .flags = "device products quiet",
    .most_arguments = 1,
    .run = check,
};
