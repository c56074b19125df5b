#include "bench/common/terminal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

bool terminal_rewrites(int descriptor) {
    const char *kind = getenv("TERM");
    return isatty(descriptor) == 1 && kind && *kind && strcmp(kind, "dumb") != 0;
}

int terminal_columns(int descriptor, int otherwise) {
    struct winsize size;
    const char *text = getenv("COLUMNS");
    const int columns = text ? atoi(text) : 0;
    if (columns > 0) return columns;
    return ioctl(descriptor, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : otherwise;
}

void terminal_status(const char *text) {
    /* The last column stays free: some terminals wrap as soon as it is filled. */
    fprintf(stderr, "\r\033[K%.*s", terminal_columns(STDERR_FILENO, 80) - 1, text);
}
