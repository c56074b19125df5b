/* Whole files. What stands under its final name is complete: it was written to a temporary name in
 * the same folder, flushed to the disk, renamed, and the folder was flushed too, so that neither a
 * crash nor a full disk nor a power cut leaves half a file or loses the previous one. */
#ifndef LONGHAUL_FILE_H
#define LONGHAUL_FILE_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

#include "engine/status.h"

/* A file being written. Temporary names end in FILE_PARTIAL. */
#define FILE_PARTIAL ".partial"
typedef struct FileWriter {
    int descriptor; /* -1 when not open */
    char path[PATH_MAX], temporary[PATH_MAX];
} FileWriter;

/* Writing goes through a link to its file; a name that is something else (a device, a pipe, a
 * folder) is refused, for the rename would replace it. */

/* Errors of all of these: STATUS_IO with path and cause. After a failed append or commit the
 * temporary file is gone and the previous file untouched. */
Status file_begin(FileWriter *writer, const char *path, Error *error);
Status file_append(FileWriter *writer, const void *data, size_t bytes, Error *error);
Status file_commit(FileWriter *writer, Error *error);
void file_abandon(FileWriter *writer); /* also after a failure; does nothing when closed */

/* begin, append, commit. */
Status file_write(const char *path, const void *data, size_t bytes, Error *error);

/* file_write unless the file holds exactly that already; then its time stays. */
Status file_update(const char *path, const void *data, size_t bytes, Error *error);

/* True when both are there and path was not modified before source. */
bool file_up_to_date(const char *path, const char *source);

/* The whole file in new memory (64-byte aligned, a zero byte follows; free it). Missing file:
 * STATUS_DATA. */
Status file_read(const char *path, char **data, size_t *bytes, Error *error);

bool file_exists(const char *path);

/* Makes the folder and the ones above it. It is no error that they exist. */
Status folder_make(const char *path, Error *error);

/* Removes what killed writers left in the folder: partial files. The caller is the folder's only
 * writer but for the file `shared` (NULL: for none): leftovers of that stay until untouched for
 * `seconds`, which must be longer than another writer can need for one. */
void folder_clean(const char *path, const char *shared, double seconds);

/* Removes the folder and all that is in it, as far as that can be done. */
void folder_remove(const char *path);

/* "folder/name" into path; STATUS_IO when it is too long. */
Status path_join(char path[PATH_MAX], const char *folder, const char *name, Error *error);

#endif
