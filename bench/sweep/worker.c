#include "bench/sweep/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/clock.h"
#include "engine/file.h"

/* The processors first .. first+count-1 of those that this process may use. */
static void pin(int first, int count) {
    cpu_set_t allowed, chosen;
    if (first < 0 || sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
    CPU_ZERO(&chosen);
    int seen = 0;
    for (size_t processor = 0; processor < CPU_SETSIZE; processor++)
        if (CPU_ISSET(processor, &allowed)) {
            if (seen >= first && seen < first + count) CPU_SET(processor, &chosen);
            seen++;
        }
    if (CPU_COUNT(&chosen) > 0) sched_setaffinity(0, sizeof chosen, &chosen);
}

/* In the child, never returns. Only what POSIX allows between fork and exec, and pin. */
static void become_worker(const WorkerTask *task, char **words, int pipe_end, int messages,
                          pid_t parent) {
    /* If the sweep dies, its cells save and leave rather than run on unseen. */
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent) _exit(STATUS_INTERRUPTED);
    const int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
    dup2(nothing, STDIN_FILENO);
    dup2(nothing, STDOUT_FILENO);
    dup2(messages, STDERR_FILENO);
    fcntl(pipe_end, F_SETFD, 0); /* the one descriptor that is inherited */
    pin(task->first_processor, task->threads);
    execv("/proc/self/exe", words);
    _exit(STATUS_IO);
}

static Status fork_worker(Worker *worker, const WorkerTask *task, int messages, Error *error) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0)
        return error_set(error, STATUS_IO, "making a pipe: %s", strerror(errno));
    /* Neither side waits for the other: a record that does not fit is lost, the next one comes. */
    for (int i = 0; i < 2; i++) fcntl(ends[i], F_SETFL, O_NONBLOCK);
    char config[PATH_MAX + 16], threads[16], report[16];
    snprintf(config, sizeof config, "%s/config.yaml", task->folder);
    snprintf(threads, sizeof threads, "%d", task->threads);
    snprintf(report, sizeof report, "%d", ends[1]);
    char *words[] = {"longhaul",
                     "train",
                     "--config",
                     config,
                     "--results",
                     (char *)task->results,
                     "--suite",
                     (char *)task->suite,
                     "--device",
                     (char *)task->device,
                     "--threads",
                     threads,
                     "--report",
                     report,
                     task->force ? "--force" : NULL,
                     NULL};
    const pid_t parent = getpid(), pid = fork();
    if (pid == 0) become_worker(task, words, ends[1], messages, parent);
    close(ends[1]);
    if (pid < 0) {
        close(ends[0]);
        return error_set(error, STATUS_IO, "starting a process: %s", strerror(errno));
    }
    *worker = (Worker){.pid = pid, .pipe = ends[0], .started = seconds_now()};
    worker->progress = (Progress){.metric = NAN, .seconds_left = NAN};
    return STATUS_OK;
}

Status worker_start(Worker *worker, const WorkerTask *task, Error *error) {
    char path[PATH_MAX];
    Status status = path_join(path, task->folder, "messages.txt", error);
    if (status != STATUS_OK) return status;
    const int messages = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (messages < 0) return error_set(error, STATUS_IO, "creating %s: %s", path, strerror(errno));
    status = fork_worker(worker, task, messages, error);
    close(messages);
    return status;
}

/* Only the newest whole record counts. */
static void take_records(Worker *worker) {
    worker->pending[worker->pending_bytes] = '\0';
    char *start = worker->pending;
    for (char *end; (end = strchr(start, '\n')); start = end + 1) {
        Progress progress;
        if (progress_parse(start, &progress)) worker->progress = progress;
    }
    worker->pending_bytes -= (int)(start - worker->pending);
    memmove(worker->pending, start, (size_t)worker->pending_bytes);
    /* A line that fills the buffer is not ours. */
    if (worker->pending_bytes == (int)sizeof worker->pending - 1) worker->pending_bytes = 0;
}

void worker_listen(Worker *worker) {
    for (;;) {
        const ssize_t got = read(worker->pipe, worker->pending + worker->pending_bytes,
                                 sizeof worker->pending - 1 - (size_t)worker->pending_bytes);
        if (got <= 0) return;
        worker->pending_bytes += (int)got;
        take_records(worker);
    }
}

bool worker_ended(Worker *worker, Status *status, int *killed_by) {
    int how;
    if (waitpid(worker->pid, &how, WNOHANG) != worker->pid) return false;
    *killed_by = WIFSIGNALED(how) ? WTERMSIG(how) : 0;
    *status = WIFEXITED(how) ? (Status)WEXITSTATUS(how) : STATUS_IO;
    worker_listen(worker);
    close(worker->pipe);
    worker->pid = 0;
    return true;
}

void worker_stop(const Worker *worker) {
    if (worker->pid > 0) kill(worker->pid, SIGTERM);
}
