/* A command of the program: a constant descriptor, listed in bench/cli/commands.def. The parser,
 * the help, the shell completion and the manual page read the same tables. */
#ifndef LONGHAUL_COMMAND_H
#define LONGHAUL_COMMAND_H

#include "bench/cell/setting.h"
#include "tasks/task.h"

/* Every flag of every command; the option table is flag_table (bench/cli/flag.c). A flag --dry-run
 * is the field dry_run and has the environment twin LONGHAUL_DRY_RUN; switches need no value. */
typedef struct Flags {
    char results[OPTION_TEXT_BYTES], plots[OPTION_TEXT_BYTES]; /* folders */
    char suite[OPTION_TEXT_BYTES];                             /* train: folder below results */
    char config[OPTION_TEXT_BYTES], weights[OPTION_TEXT_BYTES],
        output[OPTION_TEXT_BYTES];                          /* files */
    char model[OPTION_TEXT_BYTES], task[OPTION_TEXT_BYTES]; /* patterns "m*,!x" */
    char budget[OPTION_TEXT_BYTES], seeds[OPTION_TEXT_BYTES], shard[OPTION_TEXT_BYTES];
    char preset[OPTION_TEXT_BYTES];
    char from[OPTION_TEXT_BYTES]; /* data fetch: address of a mirror */
    int64_t jobs, threads;        /* jobs 0: as many as fit the machine */
    int64_t samples;              /* data make: of the training split */
    int64_t n, first, seed;       /* generate: how many samples, from which on, of which seed */
    int split;                    /* 0: flag_split knows, else 1 + Split */
    int64_t report;               /* train: descriptor for progress records; -1: none */
    double seconds;               /* kernels, speed: to spend on each measurement */
    double threshold;             /* compare: relative change that counts */
    int device;                   /* FlagDevice */
    int products;                 /* kernels, check: Products */
    int format;                   /* FlagFormat */
    int script;                   /* sweep: FlagScript */
    bool retry_failed, force, dry_run, ascii, quiet;
    char against[OPTION_TEXT_BYTES]; /* speed: model of the crossovers */
    double limit;                    /* speed: seconds of the longest step */
    int64_t generate;                /* speed: tokens after each prompt; 0: training steps */
    bool csv, json;                  /* short for --format */
    bool show, time;                 /* generate: a contact sheet; samples a second */
    bool plot;                       /* kernels, speed: draw */
    int isa;                         /* kernels: 0 best, else 1 + Isa */
} Flags;

typedef enum FlagDevice {
    DEVICE_CPU,
    DEVICE_CUDA,
    DEVICE_CUDA_EMULATED,
    DEVICE_CUDA_RACES
} FlagDevice;
typedef enum FlagFormat {
    FORMAT_CONSOLE,
    FORMAT_MARKDOWN,
    FORMAT_CSV,
    FORMAT_TEX,
    FORMAT_JSON
} FlagFormat;

typedef enum FlagScript { SCRIPT_NONE, SCRIPT_SLURM, SCRIPT_PARALLEL } FlagScript;

extern const OptionTable flag_table;

/* The format asked for, as --format or as --csv or --json. */
FlagFormat flag_format(const Flags *flags);

/* Where the value of a flag came from, as the source of a setting: "flag --budget", or
 * "environment LONGHAUL_BUDGET" where that says the same. */
enum { FLAG_SOURCE_BYTES = 80 };
void flag_source(const char *name, const char *value, char source[FLAG_SOURCE_BYTES]);

/* Name of the device asked for, as device_open takes it. */
const char *flag_device(const Flags *flags);
/* STATUS_USAGE for --products on a device that has no such thing. */
Status flag_check_products(const Flags *flags, Error *error);
/* The split asked for, or the usual one of the command. */
Split flag_split(const Flags *flags, Split usual);
/* Threads of one cell: as asked for, or what the device wants. */
int flag_threads(const Flags *flags);

struct Command;

/* What the user asked for, parsed. */
typedef struct Invocation {
    const struct Command *command;
    const char *program; /* path by which this program can be started again */
    char **arguments;    /* positional: suite, run folder, pattern */
    int argument_count;
    Settings settings; /* key=value, in the order given */
    Flags flags;
} Invocation;

/* Data go to standard output, chatter to standard error. The caller prints *error and exits with
 * the status. */
typedef struct Command {
    const char *name;
    const char *arguments; /* for the usage line: "SUITE|FILE", "RUN RUN", "" */
    const char *summary;   /* one line */
    const char *detail;    /* paragraphs of help and manual; "" for nothing more to say */
    const char *flags;     /* names of the flags it takes, separated by blanks */
    int least_arguments, most_arguments;
    bool takes_settings; /* key=value */
    Status (*run)(const Invocation *invocation, Error *error);
} Command;

const Command *const *command_all(int *count);
const Command *command_find(const char *name);

#endif
