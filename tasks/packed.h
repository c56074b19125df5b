/* Files that may be packed with gzip or zstd: read as what they hold. */
#ifndef LONGHAUL_PACKED_H
#define LONGHAUL_PACKED_H

#include <stddef.h>
#include <stdio.h>

#include "engine/status.h"

/* The content of a file, from the beginning on. What it is packed with is seen from its first
 * bytes, not from its name; zstd is unpacked by the program of that name. STATUS_DATA when it
 * cannot be opened. */
typedef struct PackedFile {
    FILE *stream;
    const char *path; /* the caller's */
} PackedFile;

Status packed_open(PackedFile *file, const char *path, Error *error);

/* Closes. STATUS_DATA when the file turned out damaged or cut off; a reader that got through must
 * ask, because a damaged file looks like one that ends early. */
Status packed_close(PackedFile *file, Error *error);

/* The whole content in new memory, a zero byte after it; free it. */
Status packed_read(const char *path, char **data, size_t *bytes, Error *error);

#endif
