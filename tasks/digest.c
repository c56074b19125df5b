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

#include "engine/memory.h"
#include "tasks/packed.h"

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
    bool header; /* Git's */
} Algorithm;

static const Algorithm algorithms[] = {
    {"sha256", sha2_start, sha2_add, sha2_text, false},
    {"sha1", sha1_start, sha1_add, sha1_text, false},
    {"md5", md5_start, md5_add, md5_text, false},
    {"git", sha1_start, sha1_add, sha1_text, true},
};

static const Algorithm *algorithm_of(const char *like) {
    const size_t length = strcspn(like, ":");
    for (size_t i = 0; i < sizeof algorithms / sizeof *algorithms; i++)
        if (strlen(algorithms[i].name) == length && strncmp(algorithms[i].name, like, length) == 0)
            return &algorithms[i];
    return NULL;
}

/* Git hashes "blob SIZE" and a zero byte first. */
static void add_header(const Algorithm *algorithm, State *state, int64_t size) {
    char header[48];
    if (!algorithm->header) return;
    const int length = snprintf(header, sizeof header, "blob %" PRId64, size);
    algorithm->add(state, (uint8_t *)header, (size_t)length + 1);
}

Status digest_file(const char *path, const char *like, char text[DIGEST_BYTES], Error *error) {
    const Algorithm *algorithm = algorithm_of(like);
    assert(algorithm);
    FILE *file = fopen(path, "rb");
    if (!file) return error_set(error, STATUS_DATA, "%s: %s", path, strerror(errno));
    enum { PART = 1 << 18 };
    uint8_t *bytes = memory_take(PART);
    State state;
    struct stat facts = {0};
    algorithm->start(&state);
    fstat(fileno(file), &facts);
    add_header(algorithm, &state, facts.st_size);
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

Status digest_content(const char *path, const char *like, char text[DIGEST_BYTES], Error *error) {
    const Algorithm *algorithm = algorithm_of(like);
    assert(algorithm);
    char *bytes;
    size_t size;
    if (packed_read(path, &bytes, &size, error) != STATUS_OK) return error->status;
    State state;
    algorithm->start(&state);
    add_header(algorithm, &state, (int64_t)size);
    algorithm->add(&state, (uint8_t *)bytes, size);
    free(bytes);
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
