/* Whether a data set on disk is whole: checksums, and the task that reads it. */
#ifndef LONGHAUL_DATA_VERIFY_H
#define LONGHAUL_DATA_VERIFY_H

#include <stdint.h>

#include "engine/status.h"
#include "tasks/data_set.h"

typedef enum DataState {
    DATA_UNCHECKED, /* readable, but nobody has published a checksum */
    DATA_OFFICIAL,  /* every file is the published one */
    DATA_PART       /* not the published files, but what SHA256SUMS beside them says */
} DataState;

typedef struct DataReport {
    DataState state;
    char missing[128]; /* first file of the set that is not there; "" */
    int64_t counts[3]; /* samples by split that the task finds; 0: endless */
    int64_t checked;   /* checksums that were compared and fit */
} DataReport;

/* Every line of SHA256SUMS in the set's folder, then every published checksum, then the task with
 * the set's settings. STATUS_DATA: the first thing that is wrong, with what was expected. Files
 * that are not there are no error here unless none is; the report names one, and the task is then
 * not asked. */
Status data_verify(const DataSet *set, DataReport *report, Error *error);

#endif
