/* Generated stand-ins of public data sets, written in the formats of those sets. The tasks of the
 * same name need no files; these are for use elsewhere. */
#ifndef LONGHAUL_DATA_MAKE_H
#define LONGHAUL_DATA_MAKE_H

#include <stdint.h>

#include "engine/status.h"

typedef struct Maker Maker;

typedef struct StandIn {
    const char *name;   /* of the folder: "text-synthetic" */
    const char *task;   /* what generates it: "text_synthetic" */
    const char *format; /* whose files they are */
    Status (*write)(Maker *maker, Error *error);
} StandIn;

const StandIn *stand_in_list(int *count);
const StandIn *stand_in_find(const char *name); /* NULL when there is none */

/* Makes the folder of that name in the data folder: `samples` of the training split, a tenth as
 * many (at least 10) of each other split, of seed 1. It appears whole or not at all. STATUS_USAGE
 * when it is there; STATUS_IO. */
Status stand_in_make(const StandIn *stand_in, int64_t samples, Error *error);

#endif
