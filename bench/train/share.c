#include "bench/train/share.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/train/part_sum.h"
#include "engine/memory.h"

/* "1, 2, 4": how many processes can share so many parts. */
static void list_counts(int64_t parts, char *text, size_t bytes) {
    size_t used = 0;
    *text = '\0';
    for (int64_t count = 1; count <= parts && count <= TEAM_MOST; count++)
        if (part_sum_fits(parts, (int)count) && used < bytes)
            used +=
                (size_t)snprintf(text + used, bytes - used, "%s%" PRId64, used ? ", " : "", count);
}

Status share_check(const Session *session, Error *error) {
    const RunOptions *run = &session->cell->run;
    const int count = session->team->count;
    if (count == 1) return STATUS_OK;
    if (session->device.kind->remote)
        return error_set(error, STATUS_USAGE,
                         "started as %d processes, and device %s trains in one; start one process, "
                         "or use --device cpu",
                         count, session->device.kind->name);
    if (part_sum_fits(run->replicas, count)) return STATUS_OK;
    char counts[256], other[128] = "";
    list_counts(run->replicas, counts, sizeof counts);
    if (run->batch % count == 0)
        snprintf(other, sizeof other,
                 ", or set replicas=%d, which is another cell: its sums have another order", count);
    return error_set(error, STATUS_USAGE,
                     "started as %d processes, which cannot share replicas=%" PRId64
                     " of batch=%" PRId64 "; expected number of processes: %s. Start as many%s",
                     count, run->replicas, run->batch, counts, other);
}

static Status differ(const Start *first, const Start *other, int rank, Error *error) {
    if (strcmp(first->identity, other->identity) != 0)
        return error_set(error, STATUS_USAGE,
                         "process %d would train cell %s and process 0 cell %s; give all of them "
                         "the same settings and the same program",
                         rank, other->identity, first->identity);
    if (strcmp(first->instructions, other->instructions) != 0)
        return error_set(error, STATUS_USAGE,
                         "process %d would compute with %s and process 0 with %s, which round "
                         "differently; start all on machines of one kind",
                         rank, other->instructions, first->instructions);
    if (first->step != other->step)
        return error_set(error, STATUS_IO,
                         "process %d found a checkpoint of step %" PRId64
                         " and process 0 one of step %" PRId64
                         "; the results folder must be on a file system that all machines share",
                         rank, other->step, first->step);
    if (first->data_hash != other->data_hash)
        return error_set(error, STATUS_DATA,
                         "process %d has other training data than process 0; check both with "
                         "longhaul data verify",
                         rank);
    return STATUS_OK;
}

Status share_compare(const Team *team, const Start *own, Error *error) {
    if (team->count == 1) return STATUS_OK;
    Start *all = memory_take_zeroed((size_t)team->count, sizeof *all);
    all[team->rank] = *own;
    team_gather(team, all, sizeof *all);
    Status status = STATUS_OK;
    for (int r = 1; r < team->count && status == STATUS_OK; r++)
        status = differ(&all[0], &all[r], r, error);
    free(all);
    return status;
}
