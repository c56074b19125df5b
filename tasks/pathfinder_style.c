/* The published parameters (long-range-arena, lra_benchmarks/data/pathfinder.py; what is not listed
 * there is the generator's default). */
#include <stdlib.h>

#include "tasks/pathfinder.h"
#include "tasks/sampling.h"

static const PathfinderStyle styles[] = {
    {32, 1, 2, 0.5, {1, 0}, 1, 7, 1.5, 1.0, 20, 2.0, 0.75},
    {64, 1, 5, 1.0, {1, 0}, 1, 12, 2.5, 1.8, 22, 0.8, 1.0},
    {128, 1, 5, 1.5, {2, 3}, 2, 20, 3.0, 1.8, 35, 0.9, 1.0},
    {256, 22, 5, 2.0, {3, 0}, 1, 27, 5.0, 1.8, 30, 1.0, 1.0},
};

Pathfinder *pathfinder_open(int size, int contour) {
    for (size_t i = 0; i < sizeof styles / sizeof *styles; i++) {
        if (styles[i].size != size) continue;
        Pathfinder *pathfinder = scratch_open(sizeof *pathfinder);
        pathfinder->style = styles[i];
        pathfinder->contour = contour;
        pathfinder->distractor = contour / 3;
        pathfinder->distractors =
            contour < SHORTEST_PUBLISHED ? 0 : styles[i].distractor_factor / pathfinder->distractor;
        pathfinder->tables =
            scratch_open((size_t)styles[i].margin_count * sizeof *pathfinder->tables);
        for (int m = 0; m < styles[i].margin_count; m++)
            pathfinder_tables(&styles[i], styles[i].margins[m], &pathfinder->tables[m]);
        pathfinder->shrink = lanczos_open(ANTIALIAS * size, size);
        for (int k = 0; k < 256; k++) pathfinder->occupancy[k] = (float)(k / 255.0);
        return pathfinder;
    }
    return NULL;
}

void pathfinder_close(Pathfinder *pathfinder) {
    for (int m = 0; m < pathfinder->style.margin_count; m++) free(pathfinder->tables[m].patches);
    free(pathfinder->tables);
    lanczos_close(&pathfinder->shrink);
    free(pathfinder);
}
