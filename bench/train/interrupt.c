#include "bench/train/interrupt.h"

#include <signal.h>
#include <stddef.h>

static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGUSR1};

/* A signal handler is given no context, so this one flag has to be global. */
static volatile sig_atomic_t asked;

static void note(int number) {
    (void)number;
    asked = 1;
}

void interrupt_install(void) {
    struct sigaction action = {.sa_handler = note, .sa_flags = (int)SA_RESETHAND};
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
        struct sigaction before;
        sigaction(signals[i], NULL, &before);
        if (before.sa_handler != SIG_IGN) sigaction(signals[i], &action, NULL);
    }
}

bool interrupt_is(int number) {
    size_t i = 0;
    while (i < sizeof signals / sizeof *signals && signals[i] != number) i++;
    return i < sizeof signals / sizeof *signals;
}

bool interrupt_asked(void) {
    return asked != 0;
}
