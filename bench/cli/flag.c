/* The flags of every command, in one table. */
#include <stdlib.h>
#include <string.h>

#include "bench/cell/environment.h"
#include "bench/cli/cli.h"
#include "engine/op.h"

#define FLAG(field) offsetof(Flags, field)
static const Option options[] = {
    {"results", OPTION_TEXT, FLAG(results), "results", 0, -1, NULL, "folder of the results"},
    {"plots", OPTION_TEXT, FLAG(plots), "plots", 0, -1, NULL, "folder of the figures"},
    {"suite", OPTION_TEXT, FLAG(suite), "runs", 0, -1, NULL,
     "folder below results that a single cell is kept in"},
    {"config", OPTION_TEXT, FLAG(config), "", 0, -1, NULL, "YAML file of key: value settings"},
    {"weights", OPTION_TEXT, FLAG(weights), "", 0, -1, NULL,
     "safetensors file to start from, or to evaluate"},
    {"from", OPTION_TEXT, FLAG(from), "", 0, -1, NULL,
     "address of a folder that has the files, instead of the official ones"},
    {"output", OPTION_TEXT, FLAG(output), "", 0, -1, NULL, "file to write"},
    {"preset", OPTION_TEXT, FLAG(preset), "quick", 0, -1, NULL,
     "size of the suite: quick, standard or paper"},
    {"model", OPTION_TEXT, FLAG(model), "", 0, -1, NULL,
     "only these models: 'm*,!mamba'; one named in full may be new to the suite"},
    {"task", OPTION_TEXT, FLAG(task), "", 0, -1, NULL, "only these tasks: 'mqar,!copy*'"},
    {"seeds", OPTION_TEXT, FLAG(seeds), "", 0, -1, NULL,
     "how many seeds (3), or which (1,2,7 or 1..5), instead of the suite's"},
    {"budget", OPTION_TEXT, FLAG(budget), "", 0, -1, NULL, "of every cell, such as 2e12flop"},
    {"shard", OPTION_TEXT, FLAG(shard), "", 0, -1, NULL, "only part i of n, as i/n: 1/4"},
    {"script", OPTION_CHOICE, FLAG(script), "none", 0, -1, "none|slurm|parallel",
     "print a script that runs the sweep in parts under Slurm or GNU parallel, and stop"},
    {"jobs", OPTION_INTEGER, FLAG(jobs), "0", 0, 4096, NULL,
     "cells at a time; 0: one for each group of --threads cores, on a GPU one"},
    {"threads", OPTION_INTEGER, FLAG(threads), "0", 0, 4096, NULL,
     "threads of one cell; 0: one, or with a GPU a share of all cores, which make its data"},
    {"seconds", OPTION_REAL, FLAG(seconds), "0.3", 0.001, 3600, NULL,
     "to spend on each measurement"},
    {"limit", OPTION_REAL, FLAG(limit), "10", 0, 1e9, NULL,
     "seconds that one training step may be expected to take"},
    {"generate", OPTION_INTEGER, FLAG(generate), "0", 0, 1 << 24, NULL,
     "tokens to generate after each prompt of a batch; 0: time training steps"},
    {"against", OPTION_TEXT, FLAG(against), "transformer", 0, -1, NULL,
     "model with which crossover lengths are sought"},
    {"threshold", OPTION_REAL, FLAG(threshold), "0.05", 0, 1000, NULL,
     "relative change of time that counts"},
    {"device", OPTION_CHOICE, FLAG(device), "cpu", 0, -1, "cpu|cuda|cuda-emulated|cuda-races",
     "what computes; the last two are for tests"},
    {"products", OPTION_CHOICE, FLAG(products), "float", 0, -1, "float|tf32|bf16",
     "what matrix products round their inputs to"},
    {"retry-failed", OPTION_SWITCH, FLAG(retry_failed), "no", 0, -1, NULL,
     "run cells again that failed before"},
    {"force", OPTION_SWITCH, FLAG(force), "no", 0, -1, NULL,
     "run finished cells again; compare or take what does not fit"},
    {"dry-run", OPTION_SWITCH, FLAG(dry_run), "no", 0, -1, NULL,
     "check and show what would run, and stop"},
    {"format", OPTION_CHOICE, FLAG(format), "console", 0, -1, "console|md|csv|tex|json",
     "of the table"},
    {"csv", OPTION_SWITCH, FLAG(csv), "no", 0, -1, NULL, "the same as --format csv"},
    {"json", OPTION_SWITCH, FLAG(json), "no", 0, -1, NULL, "the same as --format json"},
    {"plot", OPTION_SWITCH, FLAG(plot), "no", 0, -1, NULL, "draw the figures, too"},
    {"isa", OPTION_CHOICE, FLAG(isa), "best", 0, -1, "best|portable|avx2|avx512",
     "instruction set of the kernels"},
    {"ascii", OPTION_SWITCH, FLAG(ascii), "no", 0, -1, NULL, "figures as text"},
    {"n", OPTION_INTEGER, FLAG(n), "5", 1, 1 << 24, NULL, "how many samples"},
    {"show", OPTION_SWITCH, FLAG(show), "no", 0, -1, NULL,
     "pictures on one sheet, PLOTS/TASK.png unless --output names it"},
    {"time", OPTION_SWITCH, FLAG(time), "no", 0, -1, NULL,
     "samples a second, against the quickest architecture; TASK may be a pattern"},
    {"samples", OPTION_INTEGER, FLAG(samples), "2000", 10, 1 << 24, NULL,
     "of the training split; other splits get a tenth as many"},
    {"first", OPTION_INTEGER, FLAG(first), "0", 0, 9007199254740992.0, NULL,
     "index of the first sample"},
    {"seed", OPTION_INTEGER, FLAG(seed), "1", 0, 9007199254740992.0, NULL, "of the data"},
    {"split", OPTION_CHOICE, FLAG(split), "usual", 0, -1, "usual|train|validation|test",
     "which samples; usual: generate shows training's, eval takes the test"},
    {"quiet", OPTION_SWITCH, FLAG(quiet), "no", 0, -1, NULL, "no progress"},
    {"report", OPTION_INTEGER, FLAG(report), "-1", -1, 1 << 20, NULL,
     "descriptor that progress records go to (a sweep sets it)"},
};
const OptionTable flag_table = {options, sizeof options / sizeof *options, sizeof(Flags)};

void flag_source(const char *name, const char *value, char source[FLAG_SOURCE_BYTES]) {
    char variable[VARIABLE_BYTES];
    flag_variable(option_find(&flag_table, name), variable);
    const char *environment = getenv(variable);
    if (environment && strcmp(environment, value) == 0)
        snprintf(source, FLAG_SOURCE_BYTES, "environment %s", variable);
    else
        snprintf(source, FLAG_SOURCE_BYTES, "flag --%s", name);
}

const char *flag_device(const Flags *flags) {
    static const char *const names[] = {[DEVICE_CPU] = "cpu",
                                        [DEVICE_CUDA] = "cuda",
                                        [DEVICE_CUDA_EMULATED] = "cuda-emulated",
                                        [DEVICE_CUDA_RACES] = "cuda-races"};
    return names[flags->device];
}

Status flag_check_products(const Flags *flags, Error *error) {
    if (flags->products != PRODUCTS_TF32 || flags->device != DEVICE_CPU) return STATUS_OK;
    return error_set(error, STATUS_USAGE,
                     "--products tf32 is a format of GPUs; give --device cuda, or float or bf16");
}

int flag_threads(const Flags *flags) {
    enum { MOST = 16 }; /* more than any task needs to keep ahead of a GPU */
    if (flags->threads > 0) return (int)flags->threads;
    if (flags->device == DEVICE_CPU) return 1;
    const int jobs = flags->jobs > 0 ? (int)flags->jobs : 1;
    const int share = processors_usable() / jobs;
    return share < 1 ? 1 : share > MOST ? MOST : share;
}

Split flag_split(const Flags *flags, Split usual) {
    return flags->split == 0 ? usual : (Split)(flags->split - 1);
}

FlagFormat flag_format(const Flags *flags) {
    if (flags->csv) return FORMAT_CSV;
    return flags->json ? FORMAT_JSON : (FlagFormat)flags->format;
}
