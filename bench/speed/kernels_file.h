/* The kernel report as console table, CSV and JSON. */
#ifndef LONGHAUL_KERNELS_FILE_H
#define LONGHAUL_KERNELS_FILE_H

#include <stdio.h>

#include "bench/speed/kernels.h"

void kernels_print(const KernelReport *report, FILE *out);
void kernels_csv(const KernelReport *report, FILE *out);

/* Whole file, all samples, environment, as bench/speed/measured.h reads it; written as
 * engine/file.h promises. STATUS_IO. */
Status kernels_write(const KernelReport *report, const char *path, Error *error);

#endif
