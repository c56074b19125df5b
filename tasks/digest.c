#include "tasks/digest.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <md5.h>
#include <sha1.h>
#include <sha2.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "engine/file.h"

typedef union State {
    MD5_CTX md5;
    SHA1_CTX sha1;
    SHA2_CTX sha2;
} State;

static void md5_start(State *state) {
    MD5Init(&state->md5);
}
static void md5_add(State *state, const uint8_t *bytes, size_t count) {
    MD5Update(&state->md5, bytes, count);
}
static void md5_text(State *state, char *text) {
    MD5End(&state->md5, text);
}

static void sha1_start(State *state) {
    SHA1Init(&state->sha1);
}
static void sha1_add(State *state, const uint8_t *bytes, size_t count) {
    SHA1Update(&state->sha1, bytes, count);
}
static void sha1_text(State *state, char *text) {
    SHA1End(&state->sha1, text);
}

static void sha2_start(State *state) {
    SHA256Init(&state->sha2);
}
static void sha2_add(State *state, const uint8_t *bytes, size_t count) {
    SHA256Update(&state->sha2, bytes, count);
}
static void sha2_text(State *state, char *text) {
    SHA256End(&state->sha2, text);
}

typedef struct Algorithm {
    const char *name;
    void (*start)(State *state);
    void (*add)(State *state, const uint8_t *bytes, size_t count);
    void (*text)(State *state, char *text);
    int header; /* Git hashes "blob SIZE" and a zero byte first */
} Algorithm;

static const Algorithm algorithms[] = {
    {"sha256", sha2_start, sha2_add, sha2_text, 0},
    {"sha1", sha1_start, sha1_add, sha1_text, 0},
    {"md5", md5_start, md5_add, md5_text, 0},
    {"git", sha1_start, sha1_add, sha1_text, 1},
};

static const Algorithm *algorithm_of(const char *like) {
    const size_t length = strcspn(like, ":");
    for (size_t i = 0; i < sizeof algorithms / sizeof *algorithms; i++)
        if (strlen(algorithms[i].name) == length && strncmp(algorithms[i].name, like, length) == 0)
            return &algorithms[i];
    return NULL;
}

Status digest_file(const char *path, const char *like, char text[DIGEST_BYTES], Error *error) {
    const Algorithm *algorithm = algorithm_of(like);
    assert(algorithm);
    FILE *file = fopen(path, "rb");
    if (!file) return error_set(error, STATUS_DATA, "%s: %s", path, strerror(errno));
    enum { PART = 1 << 18 };
    uint8_t *bytes = malloc(PART);
    State state;
    struct stat facts;
    algorithm->start(&state);
    if (algorithm->header && fstat(fileno(file), &facts) == 0) {
        char header[48];
        const int length = snprintf(header, sizeof header, "blob %jd", (intmax_t)facts.st_size);
        algorithm->add(&state, (uint8_t *)header, (size_t)length + 1);
    }
    for (size_t got; bytes && (got = fread(bytes, 1, PART, file)) > 0;)
        algorithm->add(&state, bytes, got);
    const bool good = bytes && !ferror(file);
    free(bytes);
    fclose(file);
    if (!good) return error_set(error, STATUS_IO, "reading %s: %s", path, strerror(errno));
    const int start = snprintf(text, DIGEST_BYTES, "%s:", algorithm->name);
    algorithm->text(&state, text + start);
    return STATUS_OK;
}

Status digest_check(const char *path, const char *expected, Error *error) {
    char found[DIGEST_BYTES];
    if (digest_file(path, expected, found, error) != STATUS_OK) return error->status;
    if (strcmp(found, expected) == 0) return STATUS_OK;
    return error_set(error, STATUS_DATA, "%s: wrong checksum %s, expected %s", path, found,
                     expected);
}
