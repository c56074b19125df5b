/* The MPI half: a shared object of its own, so that one program serves machines with and without
 * MPI. An MPI call that fails ends all processes (MPI_ERRORS_ARE_FATAL, MPI's default). */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/mpi/library.h"

typedef struct World {
    int rank, count;
    MPI_Datatype unit; /* TEAM_UNIT floats: MPI counts in int, which elements may exceed */
    int *counts, *offsets, *own_counts, *own_offsets; /* in units, one a process */
} World;

static void gather(void *state, void *blocks, size_t bytes) {
    (void)state;
    MPI_Allgather(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, blocks, (int)bytes, MPI_BYTE, MPI_COMM_WORLD);
}

static void count_units(World *world, const int64_t *cuts) {
    const int own = (int)((cuts[world->rank + 1] - cuts[world->rank]) / TEAM_UNIT);
    for (int r = 0; r < world->count; r++) {
        world->counts[r] = (int)((cuts[r + 1] - cuts[r]) / TEAM_UNIT);
        world->offsets[r] = (int)(cuts[r] / TEAM_UNIT);
        world->own_counts[r] = own;
        world->own_offsets[r] = r * own;
    }
}

static void exchange(void *state, const float *from, const int64_t *cuts, float *into) {
    World *world = state;
    count_units(world, cuts);
    MPI_Alltoallv(from, world->counts, world->offsets, world->unit, into, world->own_counts,
                  world->own_offsets, world->unit, MPI_COMM_WORLD);
}

static void collect(void *state, float *data, const int64_t *cuts) {
    World *world = state;
    count_units(world, cuts);
    MPI_Allgatherv(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, data, world->counts, world->offsets,
                   world->unit, MPI_COMM_WORLD);
}

static void close_world(void *state) {
    World *world = state;
    MPI_Barrier(MPI_COMM_WORLD); /* a launcher may end the others when the first one leaves */
    MPI_Type_free(&world->unit);
    MPI_Finalize();
    free(world->counts);
    free(world);
}

static void version(char *text, size_t bytes) {
    char name[MPI_MAX_LIBRARY_VERSION_STRING];
    int length;
    MPI_Get_library_version(name, &length);
    snprintf(text, bytes, "%.*s", (int)strcspn(name, ",\n"), name);
}

static bool open_world(Team *team, char *message, size_t bytes) {
    int provided;
    MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &provided);
    World *world = calloc(1, sizeof *world);
    if (world) {
        MPI_Comm_rank(MPI_COMM_WORLD, &world->rank);
        MPI_Comm_size(MPI_COMM_WORLD, &world->count);
        world->counts = calloc(4 * (size_t)world->count, sizeof *world->counts);
    }
    if (!world || !world->counts) {
        snprintf(message, bytes, "out of memory");
        free(world);
        return false;
    }
    world->offsets = world->counts + world->count;
    world->own_counts = world->offsets + world->count;
    world->own_offsets = world->own_counts + world->count;
    MPI_Type_contiguous(TEAM_UNIT, MPI_FLOAT, &world->unit);
    MPI_Type_commit(&world->unit);
    team->rank = world->rank;
    team->count = world->count;
    team->state = world;
    return true;
}

extern const MpiLibrary longhaul_mpi;
const MpiLibrary longhaul_mpi = {
    .interface = MPI_INTERFACE,
    .kind = {.name = "mpi",
             .gather = gather,
             .exchange = exchange,
             .collect = collect,
             .close = close_world},
    .open = open_world,
    .version = version,
};
