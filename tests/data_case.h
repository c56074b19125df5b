/* A data folder of a test's own, with files that the test writes. */
#ifndef LONGHAUL_TESTS_DATA_CASE_H
#define LONGHAUL_TESTS_DATA_CASE_H

#include <sys/stat.h>
#include <unistd.h>

#include "engine/file.h"
#include "tests/task_case.h"

/* Makes an empty data folder and points LONGHAUL_DATA at it; for cmocka's group setup. */
static inline int data_case_begin(void **state) {
    char *folder = strdup("/tmp/longhaul-test-XXXXXX");
    *state = folder;
    if (!mkdtemp(folder) || setenv("LONGHAUL_DATA", folder, 1) != 0) return -1;
    char cache[64];
    snprintf(cache, sizeof cache, "%s/cache", folder);
    return setenv("LONGHAUL_CACHE", cache, 1);
}

static inline int data_case_end(void **state) {
    char command[PATH_MAX];
    snprintf(command, sizeof command, "rm -rf '%s'", (char *)*state);
    const int status = system(command);
    free(*state);
    return status;
}

/* Writes a file below the data folder, with its folders. */
static inline void data_case_write(const char *name, const void *bytes, size_t count) {
    char path[PATH_MAX], folder[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", getenv("LONGHAUL_DATA"), name);
    snprintf(folder, sizeof folder, "%s", path);
    *strrchr(folder, '/') = '\0';
    assert_int_equal(folder_make(folder, NULL), STATUS_OK);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, count, file), count);
    assert_int_equal(fclose(file), 0);
}

static inline void data_case_text(const char *name, const char *text) {
    data_case_write(name, text, strlen(text));
}

static inline void data_case_remove(const char *name) {
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", getenv("LONGHAUL_DATA"), name);
    assert_int_equal(unlink(path), 0);
}

/* Fails unless opening the task's data is refused with the status and a message with the words. */
static inline void data_case_refused(const char *name, const char *settings, Status status,
                                     const char *words) {
    TaskCase c;
    if (case_check(&c, name, settings) != STATUS_OK) fail_msg("%s", c.error.message);
    const Status got = c.task->open(c.options, &c.data, &c.error);
    if (got != status || !strstr(c.error.message, words))
        fail_msg("%s %s: status %d, message \"%s\"; expected status %d and \"%s\"", name, settings,
                 (int)got, c.error.message, (int)status, words);
    case_close(&c);
}

#endif
