#include "bench/cell/team.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/cell/launch.h"
#include "bench/mpi/library.h"
#include "engine/library.h"
#include "engine/memory.h"

const Team team_alone = {.count = 1};

/* Its symbols are global because MPI libraries load parts of themselves that look for them there;
 * it stays, because they start threads. */
static Status load(const MpiLibrary **library, Error *error) {
    char path[PATH_MAX];
    if (!library_find(MPI_LIBRARY_FILE, path))
        return error_set(error, STATUS_USAGE,
                         "no " MPI_LIBRARY_FILE " beside the program or in ../lib: it was built "
                         "without MPI; install its headers (Debian, Ubuntu: libopenmpi-dev), run "
                         "make, or start one process");
    void *handle = dlopen(path, RTLD_NOW | RTLD_GLOBAL | RTLD_NODELETE);
    if (!handle)
        return error_set(error, STATUS_USAGE,
                         "%s cannot be loaded: %s; the MPI that it was built with must be on this "
                         "machine",
                         path, dlerror());
    *library = dlsym(handle, MPI_LIBRARY_SYMBOL);
    if (*library && (*library)->interface == MPI_INTERFACE) return STATUS_OK;
    return error_set(error, STATUS_USAGE,
                     "%s belongs to another build of the program; run make again", path);
}

Status team_open(Team *team, Error *error) {
    const Launch launch = launch_find();
    const MpiLibrary *library = NULL;
    *team = team_alone;
    if (launch.count == 1) return STATUS_OK;
    if (launch.count > TEAM_MOST)
        return error_set(error, STATUS_USAGE,
                         "started as %d processes (%s); at most %d can work "
                         "together",
                         launch.count, launch.variable, TEAM_MOST);
    if (load(&library, error) != STATUS_OK)
        return error_context(error, "started as %d processes (%s)", launch.count, launch.variable);
    Team joined = {.kind = &library->kind};
    char message[256] = "", name[128];
    if (!library->open(&joined, message, sizeof message))
        return error_set(error, STATUS_USAGE, "MPI: %s", message);
    library->version(name, sizeof name);
    if (joined.count != launch.count) {
        error_set(error, STATUS_USAGE,
                  "started as %d processes (%s), of which MPI sees %d: the launcher is not that of "
                  "the MPI which the program was built with (%s); use its mpirun, or build with "
                  "the other one (make MPI_PACKAGE=NAME, a name that pkg-config knows)",
                  launch.count, launch.variable, joined.count, name);
        team_close(&joined);
        return error->status;
    }
    *team = joined;
    return STATUS_OK;
}

void team_close(Team *team) {
    if (team->kind) team->kind->close(team->state);
    *team = team_alone;
}

void team_gather(const Team *team, void *blocks, size_t bytes) {
    if (team->kind) team->kind->gather(team->state, blocks, bytes);
}

double team_largest(const Team *team, double own) {
    if (!team->kind) return own;
    double *all = memory_take_zeroed((size_t)team->count, sizeof *all);
    all[team->rank] = own;
    team_gather(team, all, sizeof *all);
    for (int r = 0; r < team->count; r++)
        if (all[r] > own) own = all[r];
    free(all);
    return own;
}

Status team_agree(const Team *team, Status own, Error *error) {
    if (!team->kind) return own;
    Error *all = memory_take_zeroed((size_t)team->count, sizeof *all);
    if (own != STATUS_OK) all[team->rank] = *error;
    all[team->rank].status = own;
    team_gather(team, all, sizeof *all);
    Status status = STATUS_OK;
    for (int r = 0; r < team->count && status == STATUS_OK; r++) {
        status = all[r].status;
        if (status != STATUS_OK) *error = all[r];
        if (status != STATUS_OK && r > 0) error_context(error, "process %d", r);
    }
    free(all);
    return status;
}

const char *team_describe(void) {
    char path[PATH_MAX];
    return library_find(MPI_LIBRARY_FILE, path) ? "built" : "not built (make found no MPI)";
}
