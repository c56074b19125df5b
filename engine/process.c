#include "engine/process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static Status not_started(const char *program, int cause, Error *error) {
    if (cause == ENOENT)
        return error_set(error, STATUS_DATA,
                         "the program '%s' is needed here and is not installed; install the "
                         "package %s and run again",
                         program, program);
    return error_set(error, STATUS_IO, "starting %s: %s", program, strerror(cause));
}

Status process_start(Process *process, const char *const *words, bool capture, Error *error) {
    int ends[2] = {-1, -1};
    *process = (Process){.output = -1};
    if (capture && pipe2(ends, O_CLOEXEC) != 0)
        return error_set(error, STATUS_IO, "making a pipe: %s", strerror(errno));
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t defaults;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, capture ? ends[1] : STDERR_FILENO, STDOUT_FILENO);
    /* We ignore SIGPIPE, and that would be inherited: a child should end when nobody reads on. */
    posix_spawnattr_init(&attributes);
    sigemptyset(&defaults);
    sigaddset(&defaults, SIGPIPE);
    posix_spawnattr_setsigdefault(&attributes, &defaults);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);
    const int cause =
        posix_spawnp(&process->pid, words[0], &actions, &attributes, (char **)words, environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    if (capture) close(ends[1]);
    if (cause == 0) {
        process->output = ends[0];
        return STATUS_OK;
    }
    if (capture) close(ends[0]);
    return not_started(words[0], cause, error);
}

int process_wait(Process *process) {
    int how = 0;
    if (process->output >= 0) close(process->output);
    process->output = -1;
    while (waitpid(process->pid, &how, 0) < 0)
        if (errno != EINTR) return 127;
    return WIFEXITED(how) ? WEXITSTATUS(how) : 128 + WTERMSIG(how);
}
