#include "bench/cell/launch.h"

#include <stdlib.h>

/* A pair tells only when both are set. The variables of Slurm alone never do: a batch script has
 * them whatever it starts, and `srun` without an MPI plugin starts processes that cannot talk. */
static const struct {
    const char *count, *rank;
} pairs[] = {
    {"OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"}, /* Open MPI's mpirun */
    {"PMI_SIZE", "PMI_RANK"},                         /* MPICH, Intel MPI, srun --mpi=pmi2 */
    {"SLURM_STEP_NUM_TASKS", "PMIX_RANK"},            /* srun --mpi=pmix */
};
enum { PAIRS = sizeof pairs / sizeof pairs[0] };

Launch launch_find(void) {
    for (int i = 0; i < PAIRS; i++) {
        const char *count = getenv(pairs[i].count), *rank = getenv(pairs[i].rank);
        if (!count || !rank || atoi(count) < 2) continue;
        return (Launch){.rank = atoi(rank), .count = atoi(count), .variable = pairs[i].count};
    }
    return (Launch){.count = 1};
}

Status launch_refuse(const char *what, const char *advice, Error *error) {
    const Launch launch = launch_find();
    if (launch.count == 1) return STATUS_OK;
    return error_set(error, STATUS_USAGE,
                     "%s was started as %d processes that work together (%s=%d), which only train "
                     "can use; %s",
                     what, launch.count, launch.variable, launch.count, advice);
}

void launch_leave(void) {
    for (int i = 0; i < PAIRS; i++) unsetenv(pairs[i].rank);
}
