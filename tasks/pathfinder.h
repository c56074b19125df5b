/* The pieces of Pathfinder: its published parameters, the tables of everything that can be drawn,
 * and the drawing of an image. Coordinates are (y, x), y down; an orientation theta points to
 * (sin theta, cos theta). Grey levels and occupancy are bytes, 255 for 1. */
#ifndef LONGHAUL_PATHFINDER_H
#define LONGHAUL_PATHFINDER_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/random.h"
#include "tasks/lanczos.h"

/* A "paddle" is one dash of a contour ("snake"). Lengths in pixels. */
typedef struct PathfinderStyle {
    int size;         /* height = width */
    int border;       /* rows and columns along the edge that no contour may touch */
    int paddle;       /* length of a dash */
    double thickness; /* of a dash */
    int margins[2];   /* free space around a dash, drawn for each image */
    int margin_count;
    int seed_distance;     /* between the first dashes of the two contours */
    double marker;         /* radius of the discs */
    double continuity;     /* the larger, the straighter */
    int distractor_factor; /* distractors = factor / (dashes of a distractor) */
    double contour_contrast, paddle_contrast;
} PathfinderStyle;

enum { ANTIALIAS = 2 };     /* dashes are drawn this much larger, then shrunk */
enum { PATCH = 32 };        /* bytes of a row of a patch; the columns beyond it are 0 */
enum { SEED_ANGLES = 360 }; /* orientations of a first dash: -180 .. 179 degrees */
enum { MOST_STEPS = 64, MOST_DASHES = 16 }; /* ways to go on from a dash */

/* A dash from the patch's middle, its occupancy with the margin, and that occupancy dilated by the
 * margin once more. radius is that of line and mask. */
typedef struct PathfinderPatch {
    uint8_t line[PATCH][PATCH], mask[PATCH][PATCH], dilated[PATCH][PATCH];
    /* Where a first dash may start, from the pixels of the mask that are fully occupied (offsets by
     * which a mask is dilated): the box that they span, and whether each closed quadrant has one.
     */
    int top, bottom, left, right;
    bool seedable;
    int element_count;
    int8_t element[PATCH * PATCH][2];
} PathfinderPatch;

/* A direction of growth: of a first dash (SEED_ANGLES), or of a step (the rest). */
typedef struct PathfinderTurn {
    double angle;
    double ahead_y, ahead_x;  /* from pivot to next pivot */
    int patch;                /* the dash of a seed points along it, that of a step back */
    int first, last;          /* steps that may follow, by angle; last < first + steps, wraps */
    float weight[MOST_STEPS]; /* of each of them */
} PathfinderTurn;

/* Everything for one margin. */
typedef struct PathfinderTables {
    int margin, radius, dilated_radius;
    int steps;
    struct {
        int y, x; /* from the pivot to the new head */
    } step[MOST_STEPS];
    int patch_count;
    PathfinderPatch *patches;
    PathfinderTurn turns[SEED_ANGLES + MOST_STEPS];
} PathfinderTables;

typedef struct Pathfinder {
    PathfinderStyle style;
    int contour, distractor, distractors; /* dashes of each, and how many distractors */
    PathfinderTables *tables;             /* one for each margin */
    Lanczos shrink;                       /* ANTIALIAS * size -> size */
    float occupancy[256];                 /* byte to number, rounded as the original rounds */
} Pathfinder;

enum { SHORTEST_PUBLISHED = 6 }; /* dashes; shorter contours, which are ours, have no distractors */

/* size: 32, 64, 128 or 256. contour: 3, 6, 9 or 14 dashes. NULL for another size. */
Pathfinder *pathfinder_open(int size, int contour);
void pathfinder_close(Pathfinder *pathfinder);

/* The tables of one margin (pathfinder_paddle.c). */
void pathfinder_tables(const PathfinderStyle *style, int margin, PathfinderTables *tables);

/* What happened while an image was drawn; for tests. */
typedef struct PathfinderTrace {
    int64_t tries;                 /* of the pair of contours */
    int distractors;               /* that found room */
    int tips[2][2];                /* centres of the two markers, (y, x) */
    int dashes[2][MOST_DASHES][2]; /* where each dash of the two contours starts, (y, x) */
} PathfinderTrace;

/* One image (size x size bytes) and its label: 1 when both markers are on one contour. trace may be
 * NULL. */
int pathfinder_draw(const Pathfinder *pathfinder, Random *random, uint8_t *image,
                    PathfinderTrace *trace);

/* Displaced and rounded up, the original's rule; the sum is rounded first, as there. */
int pathfinder_ceil(int coordinate, double displacement);

#endif
