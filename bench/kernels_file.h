/* The kernel report as console table, CSV and JSON, and reading the JSON back. */
#ifndef LONGHAUL_KERNELS_FILE_H
#define LONGHAUL_KERNELS_FILE_H

#include <stdio.h>

#include "bench/kernels.h"

enum { KERNELS_SCHEMA = 1 };

void kernels_print(const KernelReport *report, FILE *out);
void kernels_csv(const KernelReport *report, FILE *out);

/* Whole file, all samples, environment; written as engine/file.h promises. STATUS_IO. */
Status kernels_write(const KernelReport *report, const char *path, Error *error);

/* What a comparison needs of such a file. */
typedef struct KernelFile {
    char path[512];
    char machine[256]; /* processor, instruction set: runs on different ones do not compare */
    char build[512];   /* compiler and its flags; "" when the file does not say */
    int threads;
    KernelRow *rows; /* name, cost and samples */
    int count;
} KernelFile;

/* STATUS_DATA: missing, not JSON, half-written or of another schema; named. */
Status kernels_read(KernelFile *file, const char *path, Error *error);
void kernels_file_close(KernelFile *file);

#endif
