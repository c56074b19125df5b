/* Whether the processes of a team can train one cell, and whether they are about to train the same
 * one from the same state. */
#ifndef LONGHAUL_SHARE_H
#define LONGHAUL_SHARE_H

#include "bench/train/session.h"

/* STATUS_USAGE, with the numbers of processes that can, or on a GPU. */
Status share_check(const Session *session, Error *error);

/* Where a process is about to start from. */
typedef struct Start {
    char identity[17];    /* of the cell */
    char instructions[8]; /* instruction set of the kernels: others round otherwise */
    int64_t step;         /* of the checkpoint that it has read; 0: none */
    uint64_t data_hash;   /* of the first training samples */
} Start;

/* STATUS_USAGE, STATUS_IO or STATUS_DATA, naming the first process that differs from process 0. */
Status share_compare(const Team *team, const Start *own, Error *error);

#endif
