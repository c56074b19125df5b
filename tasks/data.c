#include "tasks/data.h"

#include <assert.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "engine/hash.h"
#include "engine/memory.h"
#include "tasks/archive.h"
#include "tasks/data_set.h"

const char *data_folder(void) {
    const char *folder = getenv("LONGHAUL_DATA");
    return folder && *folder ? folder : "data";
}

static bool is_kind(const char *path, DataKind kind) {
    struct stat facts;
    return stat(path, &facts) == 0 && (S_ISDIR(facts.st_mode) != 0) == (kind == DATA_FOLDER);
}

/* root/folder/name, as it is or packed. */
static bool find_below(const char *root, const char *folder, const char *name, DataKind kind,
                       char path[PATH_MAX]) {
    static const char *const endings[] = {"", ".zst", ".gz"};
    const int forms = kind == DATA_FOLDER ? 1 : (int)(sizeof endings / sizeof *endings);
    for (int i = 0; i < forms; i++) {
        const int length = snprintf(path, PATH_MAX, "%s/%s%s%s%s", root, folder, *folder ? "/" : "",
                                    name, endings[i]);
        if (length < PATH_MAX && is_kind(path, kind)) return true;
    }
    return false;
}

/* Looks into an archive, the set's folders in it and its top. */
static Status find_inside(const DataSet *set, const char *archive, const char *name, DataKind kind,
                          char path[PATH_MAX], bool *found, Error *error) {
    char root[PATH_MAX];
    if (archive_cached(archive, root, sizeof root, error) != STATUS_OK) return error->status;
    *found = find_below(root, "", name, kind, path);
    for (int i = 0; i < DATA_PLACES && set->folders[i] && !*found; i++)
        *found = find_below(root, set->folders[i], name, kind, path);
    return STATUS_OK;
}

/* Archives that the set may be in: those in its own folder, and those of its downloads. */
static Status list_archives(const DataSet *set, glob_t *archives, Error *error) {
    static const char *const endings[] = {"tar", "tar.gz", "tgz", "tar.zst", "zip"};
    char pattern[PATH_MAX];
    *archives = (glob_t){0};
    int flags = 0;
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++, flags = GLOB_APPEND) {
        snprintf(pattern, sizeof pattern, "%s/%s/*.%s", data_folder(), set->folders[0], endings[i]);
        if (glob(pattern, flags, NULL, archives) == GLOB_NOSPACE)
            return error_set(error, STATUS_IO, "no memory to look for archives");
    }
    for (int i = 0; i < DATA_FILES && set->downloads[i].file.path; i++) {
        const char *path = set->downloads[i].file.path, *slash = strrchr(path, '/');
        const int own = slash ? 0 : 1; /* in its own folder it was found above */
        for (int k = own; k < 2; k++) {
            const char *name = k == 0 ? slash + 1 : path;
            if (!strstr(name, ".tar") && !strstr(name, ".zip") && !strstr(name, "lra_release"))
                continue;
            snprintf(pattern, sizeof pattern, "%s/%s", data_folder(), name);
            glob(pattern, GLOB_APPEND, NULL, archives);
        }
    }
    return STATUS_OK;
}

/* "longhaul data fetch NAME gets ADDRESS; NOTE; STAND-IN is generated ...". */
static void advise(const DataSet *set, char *text, size_t size) {
    const char *address = set->bucket ? set->bucket : set->downloads[0].addresses[0];
    size_t used = 0;
    if (address)
        used +=
            (size_t)snprintf(text, size, "longhaul data fetch %s gets %s; ", set->name, address);
    if (*set->note && used < size)
        used += (size_t)snprintf(text + used, size - used, "%s; ", set->note);
    if (set->stand_in && used < size)
        snprintf(text + used, size - used, "%s is generated and needs no files; ", set->stand_in);
}

static Status not_found(const DataSet *set, const char *name, Error *error) {
    char tried[512] = "", advice[512] = "";
    size_t used = 0;
    for (int i = 0; i < DATA_PLACES && set->folders[i] && used < sizeof tried; i++)
        used += (size_t)snprintf(tried + used, sizeof tried - used, "%s%s%s%s", i > 0 ? ", " : "",
                                 set->folders[i], *set->folders[i] ? "/" : "", name);
    advise(set, advice, sizeof advice);
    return error_set(
        error, STATUS_DATA,
        "%s: not in the data folder %s (looked for %s, also packed). %sdata.dir=FOLDER "
        "or LONGHAUL_DATA names another data folder",
        set->title, data_folder(), tried, advice);
}

bool data_glimpse(const char *name, const char *file, DataKind kind, char path[PATH_MAX]) {
    const DataSet *set = data_set_find(name);
    assert(set);
    for (int i = 0; i < DATA_PLACES && set->folders[i]; i++)
        if (find_below(data_folder(), set->folders[i], file, kind, path)) return true;
    glob_t archives;
    const bool packed = list_archives(set, &archives, NULL) == STATUS_OK && archives.gl_pathc > 0;
    if (packed) snprintf(path, PATH_MAX, "%s", archives.gl_pathv[0]);
    globfree(&archives);
    return packed;
}

Status data_find(const char *name, const char *file, DataKind kind, char path[PATH_MAX],
                 Error *error) {
    const DataSet *set = data_set_find(name);
    assert(set);
    for (int i = 0; i < DATA_PLACES && set->folders[i]; i++)
        if (find_below(data_folder(), set->folders[i], file, kind, path)) return STATUS_OK;
    glob_t archives;
    Status status = list_archives(set, &archives, error);
    bool found = false;
    for (size_t i = 0; i < archives.gl_pathc && status == STATUS_OK && !found; i++)
        status = find_inside(set, archives.gl_pathv[i], file, kind, path, &found, error);
    globfree(&archives);
    if (status != STATUS_OK || found) return status;
    return not_found(set, file, error);
}

_Noreturn void data_damaged(const Error *error) {
    fprintf(stderr, "longhaul: %s\n", error->message);
    exit(STATUS_DATA);
}

static void *grow(void *memory, int64_t items, size_t size) {
    return memory_resize(memory, (size_t)items * size);
}

void records_add(Records *records, const uint8_t *bytes, int64_t length, int32_t class_id) {
    if (records->count == records->capacity) {
        records->capacity = records->capacity > 0 ? 2 * records->capacity : 1024;
        records->starts = grow(records->starts, records->capacity + 1, sizeof *records->starts);
        records->classes = grow(records->classes, records->capacity, sizeof *records->classes);
        records->starts[0] = 0;
    }
    if (records->used + length > records->room) {
        records->room = 2 * (records->used + length);
        records->bytes = grow(records->bytes, records->room, 1);
    }
    if (length > 0) memcpy(records->bytes + records->used, bytes, (size_t)length);
    records->used += length;
    records->classes[records->count++] = class_id;
    records->starts[records->count] = records->used;
}

void records_free(Records *records) {
    free(records->bytes);
    free(records->starts);
    free(records->classes);
    *records = (Records){0};
}

/* Of the bytes and the length of every part. */
static uint64_t record_hash(const Records *records, int parts, int64_t index) {
    uint64_t hash = HASH_START;
    for (int p = 0; p < parts; p++) {
        const int64_t length = record_length(&records[p], index);
        hash = hash_bytes(hash, record_bytes(&records[p], index), (size_t)length);
        hash = hash_bytes(hash, &length, sizeof length);
    }
    return hash;
}

static int compare_hashes(const void *a, const void *b) {
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static uint64_t *sorted_hashes(const Records *split, int parts) {
    uint64_t *hashes = grow(NULL, split->count, sizeof *hashes);
    for (int64_t i = 0; i < split->count; i++) hashes[i] = record_hash(split, parts, i);
    qsort(hashes, (size_t)split->count, sizeof *hashes, compare_hashes);
    return hashes;
}

bool records_overlap(const Records *splits, int parts, bool whole, SplitOverlap *found) {
    enum { SPLITS = 3 };
    uint64_t *hashes[SPLITS];
    bool overlap = false;
    for (int i = 0; i < SPLITS; i++) hashes[i] = sorted_hashes(&splits[i * parts], parts);
    for (int a = 0; a < SPLITS; a++)
        for (int b = a + 1; b < SPLITS && !overlap; b++) {
            const int64_t count = splits[b * parts].count;
            *found = (SplitOverlap){.earlier = a, .later = b};
            for (int64_t i = 0; i < count; i++)
                found->shared += bsearch(&hashes[b][i], hashes[a], (size_t)splits[a * parts].count,
                                         sizeof **hashes, compare_hashes) != NULL;
            overlap = found->shared >= (whole ? count : 1);
        }
    for (int i = 0; i < SPLITS; i++) free(hashes[i]);
    return overlap;
}
