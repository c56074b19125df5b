#include "tasks/token_cache.h"

#include <limits.h>
#include <sha2.h>
#include <stdio.h>
#include <string.h>

#include "engine/file.h"
#include "engine/memory.h"
#include "tasks/cache.h"

enum { KEY_BYTES = 65 };

/* Raised when the layout changes, or the tokens that the same files give. */
static const char magic[8] = "LHTOKEN1";

typedef struct Header {
    char magic[8];
    int64_t count, documents; /* tokens, documents */
} Header;

static void add_text(SHA2_CTX *hash, const Text *text) {
    SHA256Update(hash, (const uint8_t *)&text->count, sizeof text->count);
    SHA256Update(hash, (const uint8_t *)text->starts,
                 (size_t)(text->documents + 1) * sizeof *text->starts);
    SHA256Update(hash, text->bytes, (size_t)text->count);
}

/* SHA-256 in hexadecimal of unit, settings, vocabulary and text. train: the training text, from
 * which some units take their vocabulary. */
static Status key_of(const Unit *unit, const UnitSettings *settings, const Text *train,
                     const Text *text, char key[KEY_BYTES], Error *error) {
    char words[128];
    SHA2_CTX hash;
    SHA256Init(&hash);
    SHA256Update(&hash, (const uint8_t *)magic, sizeof magic);
    snprintf(words, sizeof words, "%s %lld %d ", unit->name, (long long)settings->vocabulary,
             settings->letters);
    SHA256Update(&hash, (const uint8_t *)words, strlen(words));
    add_text(&hash, train);
    add_text(&hash, text);
    const Status status = unit->identify(settings, &hash, error);
    SHA256End(&hash, key);
    return status;
}

static bool cache_path(const char *key, char path[PATH_MAX], Error *error) {
    char folder[PATH_MAX], name[KEY_BYTES + 16];
    snprintf(name, sizeof name, "tokens-%s", key);
    return cache_folder(folder, error) == STATUS_OK &&
           path_join(path, folder, name, error) == STATUS_OK;
}

/* The parts of a file that follow the header, in order. */
typedef struct Part {
    void *data;
    size_t bytes;
} Part;

enum { PARTS = 3 };

static void parts_of(const Tokens *tokens, Part parts[PARTS]) {
    const size_t count = (size_t)tokens->count;
    parts[0] = (Part){tokens->wide, count * sizeof *tokens->wide};
    parts[1] = (Part){tokens->ends, count * sizeof *tokens->ends};
    parts[2] = (Part){tokens->starts, (size_t)(tokens->documents + 1) * sizeof *tokens->starts};
}

/* True when the file is as long as its header says and its checksum fits. */
static bool read_whole(FILE *file, long size, Tokens *tokens) {
    Header header;
    uint8_t found[SHA256_DIGEST_LENGTH], expected[SHA256_DIGEST_LENGTH];
    if (fread(&header, sizeof header, 1, file) != 1 ||
        memcmp(header.magic, magic, sizeof magic) != 0 || header.count < 0 ||
        header.documents < 0 || header.count > size || header.documents > size)
        return false;
    *tokens = (Tokens){.count = header.count, .documents = header.documents};
    Part parts[PARTS];
    parts_of(tokens, parts);
    size_t total = sizeof header + sizeof expected;
    for (int i = 0; i < PARTS; i++) total += parts[i].bytes;
    if (total != (size_t)size) return false;
    tokens->wide = memory_take(parts[0].bytes);
    tokens->ends = memory_take(parts[1].bytes);
    tokens->starts = memory_take(parts[2].bytes);
    parts_of(tokens, parts);
    SHA2_CTX hash;
    SHA256Init(&hash);
    SHA256Update(&hash, (const uint8_t *)&header, sizeof header);
    for (int i = 0; i < PARTS; i++) {
        if (parts[i].bytes && fread(parts[i].data, parts[i].bytes, 1, file) != 1) return false;
        SHA256Update(&hash, parts[i].data, parts[i].bytes);
    }
    SHA256Final(found, &hash);
    return fread(expected, sizeof expected, 1, file) == 1 &&
           memcmp(found, expected, sizeof found) == 0;
}

/* False when there is none, or when it is damaged, which is then said on standard error. */
static bool read_cache(const char *key, Tokens *tokens) {
    char path[PATH_MAX];
    FILE *file = cache_path(key, path, NULL) ? fopen(path, "rb") : NULL;
    *tokens = (Tokens){0};
    if (!file) return false;
    fseek(file, 0, SEEK_END);
    const long size = ftell(file);
    rewind(file);
    const bool whole = read_whole(file, size, tokens);
    fclose(file);
    if (whole) return true;
    tokens_free(tokens);
    fprintf(stderr, "%s is damaged; the corpus is tokenised again\n", path);
    return false;
}

static Status write_parts(FileWriter *writer, const Tokens *tokens, Error *error) {
    Header header = {.count = tokens->count, .documents = tokens->documents};
    memcpy(header.magic, magic, sizeof magic);
    Part parts[PARTS];
    parts_of(tokens, parts);
    uint8_t digest[SHA256_DIGEST_LENGTH];
    SHA2_CTX hash;
    SHA256Init(&hash);
    SHA256Update(&hash, (const uint8_t *)&header, sizeof header);
    Status status = file_append(writer, &header, sizeof header, error);
    for (int i = 0; i < PARTS && status == STATUS_OK; i++) {
        SHA256Update(&hash, parts[i].data, parts[i].bytes);
        status = file_append(writer, parts[i].data, parts[i].bytes, error);
    }
    SHA256Final(digest, &hash);
    return status == STATUS_OK ? file_append(writer, digest, sizeof digest, error) : status;
}

/* A cache that cannot be written is said on standard error and does no harm. */
static void write_cache(const char *key, const Tokens *tokens) {
    char folder[PATH_MAX], path[PATH_MAX];
    Error error = {0};
    FileWriter writer;
    if (cache_folder(folder, &error) == STATUS_OK && folder_make(folder, &error) == STATUS_OK &&
        cache_path(key, path, &error) && file_begin(&writer, path, &error) == STATUS_OK) {
        if (write_parts(&writer, tokens, &error) == STATUS_OK) file_commit(&writer, &error);
        file_abandon(&writer);
    }
    if (error.status != STATUS_OK)
        fprintf(stderr, "tokens are not kept for the next time: %s\n", error.message);
}

Status token_cache_encode(const Unit *unit, const UnitSettings *settings, const void *lexicon,
                          const Text *train, const Text *text, Tokens *tokens, Error *error) {
    char key[KEY_BYTES];
    const bool cached = unit->identify && text->count >= TOKEN_CACHE_LEAST;
    if (cached && key_of(unit, settings, train, text, key, error) != STATUS_OK)
        return error->status;
    if (cached && read_cache(key, tokens)) return STATUS_OK;
    unit->encode(lexicon, text, tokens);
    if (cached) write_cache(key, tokens);
    return STATUS_OK;
}
