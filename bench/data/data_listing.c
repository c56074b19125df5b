#include "bench/data/data_listing.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/data/data_fetch.h"
#include "engine/memory.h"
#include "engine/process.h"

/* The bucket, and what was fetched from it. */
typedef struct Bucket {
    const DataSet *set;
    const char *address;
    bool quiet;
    int64_t files;
} Bucket;

enum { WORD = 512, PROGRESS = 100 };

/* What an address answers, in new memory. */
static Status ask(const char *address, char **answer, Error *error) {
    const char *const words[] = {
        "curl", "--fail",  "--location", "--silent", "--show-error", "--connect-timeout",
        "30",   "--retry", "2",          "--",       address,        NULL};
    Process curl;
    *answer = NULL;
    if (process_start(&curl, words, true, error) != STATUS_OK) return error->status;
    size_t bytes = 0;
    FILE *memory = memory_stream(answer, &bytes);
    char chunk[8192];
    for (ssize_t count; (count = read(curl.output, chunk, sizeof chunk)) > 0;)
        fwrite(chunk, 1, (size_t)count, memory);
    fclose(memory);
    const int code = process_wait(&curl);
    if (code == 0 && strstr(*answer, "<ListBucketResult")) return STATUS_OK;
    error_set(error, code > 128 ? STATUS_INTERRUPTED : STATUS_DATA,
              code ? "%s: curl ended with status %d; run the same command again, it continues"
                   : "%s is no listing of a bucket",
              address, code);
    free(*answer);
    *answer = NULL;
    return error->status;
}

/* What stands between <name> and </name> from `at` on, before `end`; false for nothing. */
static bool element(const char *at, const char *end, const char *name, char text[WORD]) {
    char open[64];
    snprintf(open, sizeof open, "<%s>", name);
    const char *begin = strstr(at, open);
    if (!begin || (end && begin >= end)) return false;
    begin += strlen(open);
    const size_t length = strcspn(begin, "<");
    snprintf(text, WORD, "%.*s", (int)(length < WORD ? length : WORD - 1), begin);
    return length < WORD;
}

/* Names are letters, digits and "._-/", and never lead upwards. */
static bool is_plain(const char *key) {
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/";
    return *key && *key != '/' && strspn(key, allowed) == strlen(key) && !strstr(key, "..");
}

/* One <Contents> of the listing. */
static Status fetch_entry(Bucket *bucket, const char *at, const char *end, char key[WORD],
                          Error *error) {
    char size[WORD], tag[WORD], path[2 * WORD], address[2 * WORD], digest[64] = "";
    if (!element(at, end, "Key", key) || !is_plain(key))
        return error_set(error, STATUS_DATA,
                         "%s: the listing has a file '%.80s', which is no "
                         "name below the set's folder",
                         bucket->address, key);
    if (key[strlen(key) - 1] == '/') return STATUS_OK; /* stands for the folder */
    /* ETags are MD5 sums in quotation marks (as such, or as &quot;) unless the file came in parts.
     */
    if (element(at, end, "ETag", tag)) {
        const char *hex = strncmp(tag, "&quot;", 6) == 0 ? tag + 6 : tag + (*tag == '"');
        if (strspn(hex, "0123456789abcdef") == 32)
            snprintf(digest, sizeof digest, "md5:%.32s", hex);
    }
    snprintf(path, sizeof path, "%s/%s", bucket->set->folders[0], key);
    snprintf(address, sizeof address, "%s/%s", bucket->address, key);
    const DataDownload download = {
        .addresses = {address},
        .file = {.path = path,
                 .bytes = element(at, end, "Size", size) ? atoll(size) : 0,
                 .digest = *digest ? digest : NULL},
    };
    if (++bucket->files % PROGRESS == 0 && !bucket->quiet)
        fprintf(stderr, "%s: %lld files, now %s\n", bucket->set->name, (long long)bucket->files,
                key);
    return data_download(&download, "", true, error);
}

static Status fetch_folder(Bucket *bucket, const char *folder, Error *error) {
    char marker[WORD] = "", before[WORD], address[4 * WORD], truncated[WORD];
    for (bool more = true; more;) {
        char *answer;
        memcpy(before, marker, sizeof before);
        snprintf(address, sizeof address, "%s/?prefix=%s/&marker=%s", bucket->address, folder,
                 marker);
        if (ask(address, &answer, error) != STATUS_OK) return error->status;
        Status status = STATUS_OK;
        for (const char *at = strstr(answer, "<Contents>"), *next; at && status == STATUS_OK;
             at = next) {
            next = strstr(at + 1, "<Contents>");
            status = fetch_entry(bucket, at, next, marker, error);
        }
        more = element(answer, NULL, "IsTruncated", truncated) && !strcmp(truncated, "true");
        free(answer);
        if (status == STATUS_OK && more && strcmp(marker, before) <= 0)
            status = error_set(error, STATUS_DATA,
                               "%s: the listing goes on, but no further than '%s'; it is damaged",
                               bucket->address, before);
        if (status != STATUS_OK) return status;
    }
    return STATUS_OK;
}

Status data_fetch_listed(const DataSet *set, const char *from, bool quiet, int64_t *files,
                         Error *error) {
    Bucket bucket = {.set = set, .address = *from ? from : set->bucket, .quiet = quiet};
    Status status = STATUS_OK;
    for (int i = DATA_FILES - 1; i >= 0 && status == STATUS_OK; i--) /* the largest comes last */
        if (set->files[i].path) status = fetch_folder(&bucket, set->files[i].path, error);
    *files = bucket.files;
    return status;
}
