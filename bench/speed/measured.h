/* A file of measured times as `longhaul kernels --output` and `longhaul speed --output` write it,
 * read back for a comparison: what was measured, on what, and every sample. */
#ifndef LONGHAUL_MEASURED_H
#define LONGHAUL_MEASURED_H

#include <jansson.h>

#include "engine/op.h"
#include "engine/status.h"

enum { MEASURED_SCHEMA = 1, WORK_BYTES = 640 };

typedef struct MeasuredCase {
    char name[160];
    char work[WORK_BYTES]; /* shapes and settings of the case; "" in older files */
    Cost cost;             /* all zero when the file does not say */
    double *seconds;       /* samples */
    int count;             /* 0: the case was skipped */
} MeasuredCase;

typedef struct MeasuredFile {
    char path[512];
    char kind[32];     /* "kernels" or "speed" */
    char machine[256]; /* processor and instruction set */
    char build[512];   /* compiler and flags */
    int threads;
    MeasuredCase *cases;
    int count;
} MeasuredFile;

/* STATUS_DATA: missing, not JSON, half-written or of another schema; named. Close in any case. */
Status measured_read(MeasuredFile *file, const char *path, Error *error);
void measured_close(MeasuredFile *file);

/* The measured case of that name, or NULL. */
const MeasuredCase *measured_find(const MeasuredFile *file, const char *name);

/* False when the two files say that the same name stood for different work. */
bool measured_same_work(const MeasuredCase *a, const MeasuredCase *b);

/* ---- writing (bench/speed/measured_write.c) ---- */

/* An object with schema, kind, machine, threads and environment, for the caller to add "rows" to.
 * machine: what was measured; NULL: this processor with the kernels of `isa`. */
json_t *measured_heading(const char *kind, const char *machine, Isa isa, int threads);

json_t *measured_numbers(const double *values, int count);

/* Takes the object and writes it to path ("-": standard output) as engine/file.h promises. */
Status measured_write(json_t *file, const char *path, Error *error);

#endif
