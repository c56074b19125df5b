/* Real data sets on disk, in the formats in which they are downloaded. */
#ifndef LONGHAUL_DATA_H
#define LONGHAUL_DATA_H

#include <limits.h>
#include <stdint.h>

#include "engine/status.h"

/* Where a data set may lie below the data folder: as its own archive unpacks, or as a larger
 * collection does. */
typedef struct DataPlace {
    const char *title;           /* "LRA ListOps" */
    const char *const *relative; /* candidate files or folders, best first; NULL ends */
    const char *advice;          /* how to get it, one sentence */
} DataPlace;

/* The data folder: $LONGHAUL_DATA, or "data" in the current folder. */
const char *data_folder(void);

/* The first candidate that exists, as a path. STATUS_DATA with the places tried and the advice. */
Status data_find(const DataPlace *place, char path[PATH_MAX], Error *error);

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

static inline const uint8_t *record_bytes(const Records *records, int64_t index) {
    return records->bytes + records->starts[index];
}
static inline int64_t record_length(const Records *records, int64_t index) {
    return records->starts[index + 1] - records->starts[index];
}

#endif
