/* Wall-clock points of the papers (results/published/speed.csv) in the units of our figures. */
#ifndef LONGHAUL_SPEED_PUBLISHED_H
#define LONGHAUL_SPEED_PUBLISHED_H

#include <stdint.h>

#include "engine/status.h"

/* What a point can be laid beside. */
typedef enum SpeedMeasure {
    MEASURE_TRAIN_TOKEN, /* seconds of forward and backward, a token */
    MEASURE_GENERATION,  /* tokens a second of a batch, its prompts included */
    MEASURE_MEMORY       /* bytes of forward and backward */
} SpeedMeasure;

typedef struct SpeedPoint {
    char citation[120], theirs[64]; /* their name of the implementation: a line each */
    char model[48];                 /* our architecture */
    SpeedMeasure measure;
    int64_t length;           /* of a generation: of its prompts */
    int64_t batch, generated; /* tokens after each prompt; 0: not stated */
    double value;
} SpeedPoint;

typedef struct SpeedPublished {
    SpeedPoint *points;
    int count;
} SpeedPublished;

/* Rows with a number in one of these units, at one stated length, of an architecture whose name we
 * know; others are left out. STATUS_DATA for a file that cannot be read. Free in any case. */
Status speed_published_read(SpeedPublished *published, Error *error);
void speed_published_free(SpeedPublished *published);

#endif
