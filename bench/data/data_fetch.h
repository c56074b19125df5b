/* Downloading the files of data sets. */
#ifndef LONGHAUL_DATA_FETCH_H
#define LONGHAUL_DATA_FETCH_H

#include <stdbool.h>

#include "engine/status.h"
#include "tasks/data_set.h"

/* Brings one file below the data folder with curl, a child process. Until it is whole and its
 * checksum fits it is NAME.partial, and a later call continues it. A file that is there and fits is
 * left alone. from: address of a folder that has the file instead of the official place; "" for
 * none. STATUS_DATA: no curl, no connection, wrong checksum (what came is then thrown away);
 * STATUS_INTERRUPTED: another process is at it. */
Status data_download(const DataDownload *download, const char *from, bool quiet, Error *error);

#endif
