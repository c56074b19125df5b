#include "bench/train/second_look.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/memory.h"

#define VARIABLE "LONGHAUL_SECOND_LOOK" /* "STEP MESSAGE" */
#define WAITING "CUDA_LAUNCH_BLOCKING"  /* CUDA's own */

SecondLook second_look_open(void) {
    SecondLook look = {0};
    const char *text = getenv(VARIABLE);
    if (text && sscanf(text, "%" SCNd64 " %1023[^\n]", &look.until, look.first) != 2)
        look = (SecondLook){0};
    return look;
}

/* The words of this process's command line; NULL: they cannot be read. */
static char **own_words(void) {
    FILE *file = fopen("/proc/self/cmdline", "r");
    if (!file) return NULL;
    char *text = NULL, **words = NULL;
    size_t room = 0;
    int count = 0;
    while (getdelim(&text, &room, '\0', file) > 0) {
        words = memory_resize(words, (size_t)(count + 2) * sizeof *words);
        words[count++] = text;
        words[count] = NULL;
        text = NULL;
    }
    free(text);
    fclose(file);
    return words;
}

/* Nothing of the GPU that failed goes on into the new program: its memory would stay taken. */
static void leave_behind_all_but(int kept) {
    const int most = (int)sysconf(_SC_OPEN_MAX);
    for (int descriptor = STDERR_FILENO + 1; descriptor < most; descriptor++)
        if (descriptor != kept) fcntl(descriptor, F_SETFD, FD_CLOEXEC);
}

void second_look_begin(const SecondLook *look, int64_t step, const Error *first, int report) {
    char text[sizeof first->message + 32];
    if (look->until || getenv(WAITING)) return;
    snprintf(text, sizeof text, "%" PRId64 " %s", step, first->message);
    char **words = own_words();
    fprintf(stderr,
            "longhaul: %s\nlonghaul: once more from the last checkpoint, with every launch waited "
            "for, to learn which kernel it is\n",
            first->message);
    leave_behind_all_but(report);
    if (words && setenv(VARIABLE, text, 1) == 0 && setenv(WAITING, "1", 1) == 0)
        execv("/proc/self/exe", words);
    fprintf(stderr, "longhaul: this program cannot be started again: %s\n", strerror(errno));
}
