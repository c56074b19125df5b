/* Real data sets on disk, in the formats in which they are downloaded. */
#ifndef LONGHAUL_DATA_H
#define LONGHAUL_DATA_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/status.h"

/* The data folder: $LONGHAUL_DATA (data.dir=FOLDER sets it), or "data" in the current folder. */
const char *data_folder(void);

typedef enum DataKind { DATA_FILE, DATA_FOLDER } DataKind;

/* Path of a file or folder of the set (tasks/data_set.h): as it is, or a file packed as NAME.gz or
 * NAME.zst (tasks/packed.h reads those), in the folders where the set may lie; or in an archive
 * there, which is then unpacked into the cache (tasks/archive.h). STATUS_DATA with the places tried
 * and how to get the set; STATUS_DATA, too, for a damaged archive. */
Status data_find(const char *set, const char *name, DataKind kind, char path[PATH_MAX],
                 Error *error);

/* The same without unpacking anything: for a file in an archive, the archive. False: not there. */
bool data_glimpse(const char *set, const char *name, DataKind kind, char path[PATH_MAX]);

/* For what is found damaged only when a sample is drawn: prints the message and ends the program
 * with STATUS_DATA. */
_Noreturn void data_damaged(const Error *error);

/* Byte strings of any length with a class each, one after the other. Zero-initialised is empty. */
typedef struct Records {
    uint8_t *bytes;
    int64_t *starts; /* count + 1 of them once something was added */
    int32_t *classes;
    int64_t count, capacity, used, room;
} Records;

/* Appends; the memory is the records' own. Ends the program when there is no memory. */
void records_add(Records *records, const uint8_t *bytes, int64_t length, int32_t class_id);
void records_free(Records *records);

/* Two splits that share samples: so many of `later` have the bytes of one of `earlier`. */
typedef struct SplitOverlap {
    int earlier, later;
    int64_t shared;
} SplitOverlap;

/* The first two of the three splits that share samples, or with `whole` all samples of the later.
 * splits: (3, parts); sample i is record i of each of the parts: 1, or 2 for pairs. */
bool records_overlap(const Records *splits, int parts, bool whole, SplitOverlap *found);

static inline const uint8_t *record_bytes(const Records *records, int64_t index) {
    return records->bytes + records->starts[index];
}
static inline int64_t record_length(const Records *records, int64_t index) {
    return records->starts[index + 1] - records->starts[index];
}

#endif
