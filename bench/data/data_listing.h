/* Sets published as thousands of files in a storage bucket, without an archive of them. */
#ifndef LONGHAUL_DATA_LISTING_H
#define LONGHAUL_DATA_LISTING_H

#include <stdbool.h>

#include "engine/status.h"
#include "tasks/data_set.h"

/* Asks the bucket for the names, sizes and MD5 sums of the files in each folder of the set (XML of
 * the bucket interface of S3 and Google, page by page) and brings those that are not here, each as
 * data_download does. from: another bucket, or "". *files: how many the set has. STATUS_DATA: no
 * connection, no listing, a name that leads out of the folder; and those of data_download. */
Status data_fetch_listed(const DataSet *set, const char *from, bool quiet, int64_t *files,
                         Error *error);

#endif
