/* Archives in which data sets are published: tar (plain, gzip or zstd) and zip. */
#ifndef LONGHAUL_ARCHIVE_H
#define LONGHAUL_ARCHIVE_H

#include <stddef.h>
#include <stdio.h>

#include "engine/status.h"

/* Unpacks into a new folder, which appears complete or not at all. When it is there already, or
 * another process makes it meanwhile, that one stays. Links and devices are left out. STATUS_DATA
 * for a damaged archive or one with names that lead out of the folder; STATUS_IO. */
Status archive_unpack(const char *archive, const char *folder, Error *error);

/* Where an archive is unpacked for reading: a folder of its own, named after its place, size and
 * time, in the cache (tasks/cache.h). It is made when it is not there. The data folder itself is
 * never written to. */
Status archive_cached(const char *archive, char folder[], size_t size, Error *error);

/* ---- for the formats ---- */

/* Where the members of one archive go. */
typedef struct Unpacking {
    const char *archive, *folder;
} Unpacking;

/* A file of this name being unpacked, its folders made; NULL after an error. */
FILE *archive_member(const Unpacking *unpacking, const char *name, Error *error);
/* Closes it. STATUS_IO when it could not be written. */
Status archive_member_close(const Unpacking *unpacking, const char *name, FILE *file, Error *error);

Status tar_unpack(const Unpacking *unpacking, Error *error);
Status zip_unpack(const Unpacking *unpacking, Error *error);

#endif
