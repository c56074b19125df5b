/* A sweep in parts, as a script for Slurm or GNU parallel. Printed only: what is submitted, where
 * and for how long is the user's to say.
 *
 * Slurm's manuals: sbatch (--signal, --open-mode, job arrays) and scontrol (requeue). A plain job
 * number requeues the whole array, so a part names itself; truncating its log on requeue would lose
 * what it said before. */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/cell/environment.h"
#include "bench/cli/cli.h"
#include "bench/sweep/sweep.h"
#include "bench/train/session.h"
#include "engine/memory.h"

enum {
    MOST_PARTS = 1000,    /* sites allow arrays of about that size */
    USUAL_AT_A_TIME = 16, /* parts of an array that run together */
    BESIDE_MIB = 1024     /* program, libraries and a task's data beside a cell's plan */
};

/* What is written into every script. */
typedef struct Script {
    const Suite *suite;
    const SweepOptions *options;
    const char *command; /* "longhaul sweep ...", quoted, without --jobs, --threads and --shard */
    char folder[PATH_MAX], program[PATH_MAX];
    int parts;
    int64_t bytes; /* of the largest cell; 0: not known here */
    bool gpu;
} Script;

static void write_slurm(const Script *script, FILE *out) {
    const int at_a_time = script->options->jobs > 0 ? script->options->jobs : USUAL_AT_A_TIME;
    fprintf(out,
            "# Add what the site wants (--time, --partition, --account), then: sbatch FILE\n"
            "#SBATCH --job-name=%s\n#SBATCH --array=1-%d%%%d\n#SBATCH --cpus-per-task=%d\n",
            script->suite->name, script->parts, at_a_time, script->options->threads);
    if (script->bytes > 0)
        fprintf(out, "#SBATCH --mem=%lldM\n", (long long)(script->bytes / 1048576 + BESIDE_MIB));
    if (script->gpu) fputs("#SBATCH --gpus=1\n", out);
    fputs("#SBATCH --signal=B:USR1@120\n#SBATCH --requeue\n#SBATCH --open-mode=append\n"
          "cd ",
          out);
    cli_write_word(script->folder, out);
    fputs(" || exit 74\n", out);
    cli_write_word(script->program, out);
    fprintf(out, " %s --jobs 1 --threads %d --quiet --shard \"$SLURM_ARRAY_TASK_ID/%d\" &\n",
            script->command, script->options->threads, script->parts);
    fputs("sweep=$!\n"
          "trap 'kill -USR1 \"$sweep\"' USR1 TERM\n"
          "wait \"$sweep\"\n"
          "while kill -0 \"$sweep\" 2>/dev/null; do wait \"$sweep\"; done # a signal ends a wait\n"
          "wait \"$sweep\"\n"
          "status=$?\n"
          "# Interrupted and saved: this part, not the whole array, goes back into the queue.\n"
          "[ \"$status\" -ne 75 ] || "
          "scontrol requeue \"${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID\"\n"
          "exit \"$status\"\n",
          out);
}

static void write_parallel(const Script *script, FILE *out) {
    fputs("# Run it with bash; again, it continues. Several machines that share the folder: "
          "--sshlogin\ncd ",
          out);
    cli_write_word(script->folder, out);
    fputs(" || exit 74\n", out);
    if (script->options->jobs > 0)
        fprintf(out, "jobs=%d\n", script->options->jobs);
    else if (script->gpu)
        fputs("jobs=$(nvidia-smi -L | wc -l)\n", out);
    else
        fprintf(out, "jobs=$(($(nproc) / %d))\n", script->options->threads);
    fprintf(out,
            "seq %d | parallel --jobs \"$((jobs > 0 ? jobs : 1))\" --line-buffer "
            "--termseq TERM,60000,KILL,1000 ",
            script->parts);
    /* The command is quoted once for the shell that parallel starts and once for this one. */
    char *words = NULL;
    size_t bytes;
    FILE *text = memory_stream(&words, &bytes);
    if (script->gpu) fputs("CUDA_VISIBLE_DEVICES=$(({%} - 1)) ", text);
    cli_write_word(script->program, text);
    fprintf(text, " %s --jobs 1 --threads %d --quiet --shard {}/%d", script->command,
            script->options->threads, script->parts);
    fclose(text);
    cli_write_word(words, out);
    fputc('\n', out);
    free(words);
}

typedef void Writer(const Script *script, FILE *out);
static Writer *const writers[] = {
    [SCRIPT_SLURM] = write_slurm,
    [SCRIPT_PARALLEL] = write_parallel,
};

/* Host memory of the largest cell, by the plan of one cell of each group. This machine may be
 * smaller than those that compute, or lack the data: then it is not known. */
static int64_t largest_bytes(const Suite *suite, const SweepOptions *options) {
    int64_t largest = 0;
    for (int i = 0; i < suite->count; i++) {
        CellPlan plan;
        Error cannot = {0};
        if (i > 0 && suite->cells[i].group == suite->cells[i - 1].group) continue;
        if (cell_plan(&suite->cells[i].cell, options->threads, &plan, &cannot) != STATUS_OK)
            return 0;
        if (plan.bytes > largest) largest = plan.bytes;
    }
    return largest;
}

Status sweep_script(const Suite *suite, const SweepOptions *options, FlagScript engine,
                    const char *command, FILE *out, Error *error) {
    Script script = {.suite = suite, .options = options, .command = command};
    script.parts = suite->groups < MOST_PARTS ? suite->groups : MOST_PARTS;
    script.gpu = strcmp(options->device, "cpu") != 0;
    const ssize_t length = readlink("/proc/self/exe", script.program, sizeof script.program - 1);
    if (length < 0 || !getcwd(script.folder, sizeof script.folder))
        return error_set(error, STATUS_IO, "finding the program and the current folder: %s",
                         strerror(errno));
    if (!script.gpu) script.bytes = largest_bytes(suite, options);
    fprintf(out, "#!/bin/bash\n# %s, preset %s: %d cells in %d part%s, each a sweep by itself.\n",
            suite->name, suite->preset, suite_cells_in_the_end(suite), script.parts,
            script.parts == 1 ? "" : "s");
    writers[engine](&script, out);
    return STATUS_OK;
}
