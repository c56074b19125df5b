/* A file that a test writes again and again, for what reads it by its path. */
#ifndef LONGHAUL_TESTS_WRITTEN_FILE_H
#define LONGHAUL_TESTS_WRITTEN_FILE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/file.h"

static char path[] = "/tmp/longhaul-written-XXXXXX.yaml";

static int make_path(void **state) {
    (void)state;
    const int descriptor = mkstemps(path, 5);
    return descriptor < 0 ? -1 : close(descriptor);
}

static int remove_path(void **state) {
    (void)state;
    return unlink(path);
}

static void write_text(const char *text) {
    assert_int_equal(file_write(path, text, strlen(text), NULL), STATUS_OK);
}

static void assert_says(const Error *error, const char *expected, const char *about) {
    if (!strstr(error->message, expected))
        fail_msg("%s\n  said: %s\n  expected: %s", about, error->message, expected);
}

#endif
