#include "bench/data/data_fetch.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/file.h"
#include "engine/process.h"
#include "tasks/data.h"
#include "tasks/digest.h"

/* One download under way. */
typedef struct Fetch {
    const DataFile *file;
    char path[PATH_MAX], partial[PATH_MAX];
    int lock; /* the partial file, open and locked */
    bool quiet;
} Fetch;

static int64_t bytes_so_far(const Fetch *fetch) {
    struct stat facts;
    return fstat(fetch->lock, &facts) == 0 ? (int64_t)facts.st_size : 0;
}

/* What is known about the file, for one at `path`. */
static Status check(const Fetch *fetch, const char *path, Error *error) {
    struct stat facts;
    if (stat(path, &facts) != 0)
        return error_set(error, STATUS_DATA, "%s: %s", path, strerror(errno));
    if (fetch->file->bytes > 0 && facts.st_size != fetch->file->bytes)
        return error_set(error, STATUS_DATA, "%s: %lld bytes, expected %lld", path,
                         (long long)facts.st_size, (long long)fetch->file->bytes);
    if (facts.st_size == 0) return error_set(error, STATUS_DATA, "%s is empty", path);
    return fetch->file->digest ? digest_check(path, fetch->file->digest, error) : STATUS_OK;
}

static const char *curl_cause(int code) {
    static const struct {
        int code;
        const char *cause;
    } known[] = {{6, "no such host, or no network"},
                 {7, "no connection"},
                 {18, "the transfer broke off"},
                 {22, "the server refuses it"},
                 {23, "writing failed"},
                 {28, "timeout"},
                 {37, "no such file"},
                 {56, "the connection broke off"}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (known[i].code == code) return known[i].cause;
    return "see curl's manual for this number";
}

/* Lets curl append what is missing. */
static Status transfer(const Fetch *fetch, const char *address, Error *error) {
    const char *const words[] = {"curl",
                                 "--fail",
                                 "--location",
                                 "--show-error",
                                 fetch->quiet ? "--silent" : "--progress-bar",
                                 "--connect-timeout",
                                 "30",
                                 "--retry",
                                 "2",
                                 "--continue-at",
                                 "-",
                                 "--output",
                                 fetch->partial,
                                 "--",
                                 address,
                                 NULL};
    Process curl;
    if (!fetch->quiet) fprintf(stderr, "%s\n", address);
    if (process_start(&curl, words, false, error) != STATUS_OK) return error->status;
    const int code = process_wait(&curl);
    if (code == 0) return STATUS_OK;
    if (code > 128)
        return error_set(error, STATUS_INTERRUPTED,
                         "curl was stopped by signal %d; the same command continues", code - 128);
    return error_set(error, STATUS_DATA,
                     "%s: curl ended with status %d: %s; run the same command again, it continues "
                     "after the %lld bytes that are here",
                     address, code, curl_cause(code), (long long)bytes_so_far(fetch));
}

/* A partial file that is no beginning of the right one can only be thrown away. */
static Status forget(const Fetch *fetch, Error *error) {
    if (ftruncate(fetch->lock, 0) == 0) return STATUS_OK;
    return error_set(error, STATUS_IO, "emptying %s: %s", fetch->partial, strerror(errno));
}

/* One address. */
static Status fetch_from(const Fetch *fetch, const char *address, Error *error) {
    bool continued = bytes_so_far(fetch) > 0;
    if (continued && fetch->file->digest && check(fetch, fetch->partial, NULL) == STATUS_OK)
        return STATUS_OK; /* all that was missing was the final name */
    for (;; continued = false) {
        if (transfer(fetch, address, error) != STATUS_OK) return error->status;
        Error wrong = {0};
        const Status status = check(fetch, fetch->partial, &wrong);
        if (status == STATUS_OK) return status;
        if (forget(fetch, error) != STATUS_OK) return error->status;
        /* What was continued may have begun as something else: once more from the start. */
        if (!continued)
            return error_set(error, status, "%s: %s; what came was thrown away", address,
                             wrong.message);
    }
}

static Status fetch_from_any(const Fetch *fetch, const DataDownload *download, const char *from,
                             Error *error) {
    char mirrored[PATH_MAX];
    const char *slash = strrchr(download->file.path, '/');
    snprintf(mirrored, sizeof mirrored, "%s/%s", from, slash ? slash + 1 : download->file.path);
    if (*from) return fetch_from(fetch, mirrored, error);
    Status status = STATUS_DATA;
    Error first = {0};
    for (int i = 0; i < DATA_ADDRESSES && download->addresses[i] && status == STATUS_DATA; i++) {
        Error wrong = {0};
        status = fetch_from(fetch, download->addresses[i], &wrong);
        if (status != STATUS_OK) error_set(&first, status, "%s", wrong.message);
    }
    return status == STATUS_OK ? status : error_set(error, status, "%s", first.message);
}

/* Flushes and gives the final name. */
static Status finish(const Fetch *fetch, Error *error) {
    if (fsync(fetch->lock) != 0 || rename(fetch->partial, fetch->path) != 0)
        return error_set(error, STATUS_IO, "finishing %s: %s", fetch->path, strerror(errno));
    return STATUS_OK;
}

Status data_download(const DataDownload *download, const char *from, bool quiet, Error *error) {
    Fetch fetch = {.file = &download->file, .quiet = quiet};
    char folder[PATH_MAX];
    if (path_join(fetch.path, data_folder(), download->file.path, error) != STATUS_OK)
        return error->status;
    if (snprintf(fetch.partial, sizeof fetch.partial, "%s" FILE_PARTIAL, fetch.path) >= PATH_MAX)
        return error_set(error, STATUS_IO, "path is too long: %.80s...", fetch.path);
    if (file_exists(fetch.path)) {
        if (check(&fetch, fetch.path, error) == STATUS_OK) return STATUS_OK;
        return error_context(error, "remove this file and fetch again");
    }
    snprintf(folder, sizeof folder, "%s", fetch.path);
    *strrchr(folder, '/') = '\0';
    if (folder_make(folder, error) != STATUS_OK) return error->status;
    fetch.lock = open(fetch.partial, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (fetch.lock < 0)
        return error_set(error, STATUS_IO, "creating %s: %s; data.dir=FOLDER chooses another place",
                         fetch.partial, strerror(errno));
    Status status = STATUS_OK;
    if (flock(fetch.lock, LOCK_EX | LOCK_NB) != 0)
        status = error_set(error, STATUS_INTERRUPTED, "another process is fetching %s", fetch.path);
    if (status == STATUS_OK) status = fetch_from_any(&fetch, download, from, error);
    if (status == STATUS_OK)
        status = finish(&fetch, error);
    else if (bytes_so_far(&fetch) == 0)
        unlink(fetch.partial);
    close(fetch.lock);
    return status;
}
