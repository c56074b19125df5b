/* The processes that train one cell together, and what they say to each other. Alone, which is
 * usual, every call returns at once. */
#ifndef LONGHAUL_TEAM_H
#define LONGHAUL_TEAM_H

#include <stddef.h>
#include <stdint.h>

#include "engine/status.h"

/* How teams of one kind talk. Every process of the team makes the same calls in the same order;
 * a call returns when its part is done. A kind that loses a process ends the others. */
typedef struct TeamKind {
    const char *name;
    /* blocks: one of `bytes` for each process, of which the own one is filled in; then all are. */
    void (*gather)(void *state, void *blocks, size_t bytes);
    /* Elements cuts[r] .. cuts[r + 1] - 1 of `from` go to process r. What arrives at process r lies
     * in `into`, one process's after the other's. Cuts are multiples of TEAM_UNIT. */
    void (*exchange)(void *state, const float *from, const int64_t *cuts, float *into);
    /* Process r has elements cuts[r] .. cuts[r + 1] - 1 of `data`; then all have all. */
    void (*collect)(void *state, float *data, const int64_t *cuts);
    void (*close)(void *state); /* waits for the others */
} TeamKind;

enum { TEAM_UNIT = 16, TEAM_MOST = 4096 };

typedef struct Team {
    int rank, count;      /* this process, 0 to count - 1; how many there are */
    const TeamKind *kind; /* NULL: alone */
    void *state;
} Team;

extern const Team team_alone;

/* The processes that a launcher (mpirun, srun) started together with this one; without one, or with
 * one process, team_alone. STATUS_USAGE when there are several that cannot talk. */
Status team_open(Team *team, Error *error);
void team_close(Team *team);

void team_gather(const Team *team, void *blocks, size_t bytes);

/* The largest of all processes' numbers. */
double team_largest(const Team *team, double own);

/* The first process's failure becomes everyone's, so that all go on or all stop. *error: the own
 * failure, if own is not STATUS_OK. */
Status team_agree(const Team *team, Status own, Error *error);

/* For --version: whether there is an MPI half. It is not loaded. */
const char *team_describe(void);

#endif
