#include "bench/commands/program.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/cell/environment.h"
#include "bench/cli/cli.h"
#include "engine/device.h"
#include "engine/memory.h"

/* A caller may have closed a standard descriptor; without this, the next file that is opened would
 * take its place and receive our messages. */
static void fill_standard_descriptors(void) {
    for (int descriptor = open("/dev/null", O_RDWR); descriptor >= 0;
         descriptor = open("/dev/null", O_RDWR))
        if (descriptor > STDERR_FILENO) {
            close(descriptor);
            return;
        }
}

/* Output that did not arrive must not look like success. A reader that left (| head) knows why. */
static Status check_output(Status status) {
    const bool good = fflush(stdout) == 0 && !ferror(stdout);
    if (good) return status;
    if (errno != EPIPE) fprintf(stderr, "longhaul: writing standard output: %s\n", strerror(errno));
    return status == STATUS_OK ? STATUS_IO : status;
}

int program_run(int count, char **words) {
    const bool no_output = fcntl(STDOUT_FILENO, F_GETFD) < 0;
    fill_standard_descriptors();
    json_set_alloc_funcs(memory_take, free); /* else it leaves out what it has no memory for */
    device_flush_denormals();                /* threads that start later do as this one does */
    signal(SIGPIPE, SIG_IGN); /* a closed pipe is an error of the write, not the end of training */
    if (count == 2 && strcmp(words[1], "--version") == 0) {
        environment_print(stdout);
        return (int)check_output(STATUS_OK);
    }
    Error error = {0};
    Invocation invocation;
    Status status = cli_parse(&invocation, count, words, &error);
    if (status == STATUS_OK) status = invocation.command->run(&invocation, &error);
    if (error.message[0]) fprintf(stderr, "longhaul: %s\n", error.message);
    cli_free(&invocation);
    status = check_output(status);
    return (int)(no_output && status == STATUS_OK ? STATUS_IO : status);
}
