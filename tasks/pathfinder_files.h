/* The released Pathfinder images: folder of one level, imgs/BATCH/sample_K.png and
 * metadata/BATCH.npy, which is plain text. */
#ifndef LONGHAUL_PATHFINDER_FILES_H
#define LONGHAUL_PATHFINDER_FILES_H

#include "tasks/data.h"

/* PNG files as they are, with their labels, batches in the order of their numbers. An empty file
 * (the release has one) is left out. STATUS_DATA with file and line. */
Status pathfinder_read(const char *folder, int size, Records *records, Error *error);

#endif
