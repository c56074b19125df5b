/* One child process that trains one cell: started, pinned, listened to, reaped. */
#ifndef LONGHAUL_WORKER_H
#define LONGHAUL_WORKER_H

#include <stdbool.h>
#include <sys/types.h>

#include "bench/train/progress.h"
#include "engine/status.h"

typedef struct WorkerTask {
    const char *folder; /* of the cell, with its config.yaml; messages.txt collects what it says */
    const char *results, *suite, *device;
    int threads;
    int first_processor; /* of `threads` in a row that it is pinned to; -1: not pinned */
    bool force;
} WorkerTask;

typedef struct Worker {
    pid_t pid; /* 0: free */
    int pipe;
    char pending[256]; /* start of a record that has not arrived whole */
    int pending_bytes;
    Progress progress;
    double started; /* monotonic seconds */
} Worker;

/* STATUS_IO when no process can be started. */
Status worker_start(Worker *worker, const WorkerTask *task, Error *error);

/* Takes what has arrived on the pipe. */
void worker_listen(Worker *worker);

/* Without waiting: true when the process has ended. *status is its exit code, or STATUS_IO with
 * *killed_by set to the signal. The worker is then free. */
bool worker_ended(Worker *worker, Status *status, int *killed_by);

/* Asks it to save and leave (SIGTERM). */
void worker_stop(const Worker *worker);

#endif
