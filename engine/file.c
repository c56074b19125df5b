#include "engine/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static Status failed(const char *action, const char *path, Error *error) {
    const char *next = errno == ENOSPC   ? "; free some space and run again"
                       : errno == EACCES ? "; check the folder's permissions"
                       : errno == EROFS  ? "; choose another folder with --results"
                                         : "";
    return error_set(error, STATUS_IO, "%s %s: %s%s", action, path, strerror(errno), next);
}

Status path_join(char path[PATH_MAX], const char *folder, const char *name, Error *error) {
    if (snprintf(path, PATH_MAX, "%s/%s", folder, name) < PATH_MAX) return STATUS_OK;
    return error_set(error, STATUS_IO, "path is longer than %d bytes: %.80s.../%s", PATH_MAX,
                     folder, name);
}

/* Length of the folder part of path, its last slash excluded; -1 without a slash. */
static int folder_length(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? (int)(slash - path) : -1;
}

static Status sync_folder_of(const char *path, Error *error) {
    char folder[PATH_MAX];
    const int length = folder_length(path);
    snprintf(folder, sizeof folder, "%.*s", length > 0 ? length : 1,
             length > 0    ? path
             : length == 0 ? "/"
                           : ".");
    const int descriptor = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor < 0) return failed("opening folder", folder, error);
    /* Some network file systems cannot sync a folder and say EINVAL: nothing more can be done. */
    const bool good = fsync(descriptor) == 0 || errno == EINVAL;
    const Status status = good ? STATUS_OK : failed("flushing folder", folder, error);
    close(descriptor);
    return status;
}

/* Where the file really is, through links. A device or a pipe there is refused: as root, the rename
 * at the end would replace it (/dev/stdout). */
static Status find_target(const char *path, char target[PATH_MAX], Error *error) {
    struct stat facts;
    if (stat(path, &facts) == 0 && !S_ISREG(facts.st_mode))
        return error_set(error, STATUS_IO,
                         "writing %s: it is there and not a regular file; expected a file or a new "
                         "name",
                         path);
    if (lstat(path, &facts) == 0 && S_ISLNK(facts.st_mode) && realpath(path, target))
        return STATUS_OK;
    if (snprintf(target, PATH_MAX, "%s", path) >= PATH_MAX)
        return error_set(error, STATUS_IO, "path is too long: %.80s...", path);
    return STATUS_OK;
}

Status file_begin(FileWriter *writer, const char *path, Error *error) {
    writer->descriptor = -1;
    if (find_target(path, writer->path, error) != STATUS_OK) return STATUS_IO;
    const int length =
        snprintf(writer->temporary, PATH_MAX, "%s.%ld" FILE_PARTIAL, writer->path, (long)getpid());
    if (length >= PATH_MAX) return error_set(error, STATUS_IO, "path is too long: %.80s...", path);
    writer->descriptor = open(writer->temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    return writer->descriptor < 0 ? failed("creating", writer->temporary, error) : STATUS_OK;
}

void file_abandon(FileWriter *writer) {
    if (writer->descriptor < 0) return;
    close(writer->descriptor);
    unlink(writer->temporary);
    writer->descriptor = -1;
}

Status file_append(FileWriter *writer, const void *data, size_t bytes, Error *error) {
    for (const char *at = data; bytes > 0;) {
        const ssize_t written = write(writer->descriptor, at, bytes);
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) {
            const Status status = failed("writing", writer->path, error);
            file_abandon(writer);
            return status;
        }
        at += written;
        bytes -= (size_t)written;
    }
    return STATUS_OK;
}

Status file_commit(FileWriter *writer, Error *error) {
    Status status = STATUS_OK;
    if (fsync(writer->descriptor) != 0) status = failed("flushing", writer->path, error);
    const int closed = close(writer->descriptor);
    writer->descriptor = -1;
    if (status == STATUS_OK && closed != 0) status = failed("closing", writer->path, error);
    if (status == STATUS_OK && rename(writer->temporary, writer->path) != 0)
        status = failed("renaming the finished file to", writer->path, error);
    if (status != STATUS_OK) {
        unlink(writer->temporary);
        return status;
    }
    return sync_folder_of(writer->path, error);
}

Status file_write(const char *path, const void *data, size_t bytes, Error *error) {
    FileWriter writer;
    Status status = file_begin(&writer, path, error);
    if (status == STATUS_OK) status = file_append(&writer, data, bytes, error);
    if (status == STATUS_OK) status = file_commit(&writer, error);
    return status;
}

static Status read_all(int descriptor, const char *path, char **data, size_t *bytes, Error *error) {
    struct stat facts;
    if (fstat(descriptor, &facts) != 0) return failed("reading", path, error);
    if (!S_ISREG(facts.st_mode))
        return error_set(error, STATUS_DATA, "%s is not a regular file", path);
    const size_t size = (size_t)facts.st_size;
    char *memory = aligned_alloc(64, (size + 64) / 64 * 64);
    if (!memory)
        return error_set(error, STATUS_IO, "reading %s: no memory for %zu bytes", path, size);
    size_t have = 0;
    while (have < size) {
        const ssize_t got = read(descriptor, memory + have, size - have);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) break;
        have += (size_t)got;
    }
    if (have < size) {
        free(memory);
        return error_set(error, STATUS_IO, "reading %s: only %zu of %zu bytes could be read", path,
                         have, size);
    }
    memory[size] = '\0';
    *data = memory;
    *bytes = size;
    return STATUS_OK;
}

Status file_read(const char *path, char **data, size_t *bytes, Error *error) {
    *data = NULL;
    const int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) {
        const bool missing = errno == ENOENT || errno == ENOTDIR;
        return missing ? error_set(error, STATUS_DATA, "no file %s", path)
                       : failed("opening", path, error);
    }
    const Status status = read_all(descriptor, path, data, bytes, error);
    close(descriptor);
    return status;
}

Status file_update(const char *path, const void *data, size_t bytes, Error *error) {
    char *before = NULL;
    size_t size = 0;
    const bool same = file_read(path, &before, &size, NULL) == STATUS_OK && size == bytes &&
                      memcmp(before, data, bytes) == 0;
    free(before);
    return same ? STATUS_OK : file_write(path, data, bytes, error);
}

bool file_up_to_date(const char *path, const char *source) {
    struct stat a, b;
    if (stat(path, &a) != 0 || stat(source, &b) != 0) return false;
    return a.st_mtim.tv_sec != b.st_mtim.tv_sec ? a.st_mtim.tv_sec > b.st_mtim.tv_sec
                                                : a.st_mtim.tv_nsec >= b.st_mtim.tv_nsec;
}

bool file_exists(const char *path) {
    return access(path, F_OK) == 0;
}

Status folder_make(const char *path, Error *error) {
    char part[PATH_MAX];
    if (snprintf(part, sizeof part, "%s", path) >= PATH_MAX)
        return error_set(error, STATUS_IO, "path is too long: %.80s...", path);
    for (char *slash = part + 1;; slash++) {
        slash = strchr(slash, '/');
        if (slash) *slash = '\0';
        if (mkdir(part, 0777) != 0 && errno != EEXIST) return failed("making folder", part, error);
        if (!slash) break;
        *slash = '/';
    }
    struct stat facts;
    if (stat(path, &facts) == 0 && S_ISDIR(facts.st_mode)) return STATUS_OK;
    return error_set(error, STATUS_IO, "%s exists and is not a folder", path);
}

void folder_clean(const char *path, const char *shared, double seconds) {
    DIR *folder = opendir(path);
    if (!folder) return;
    const double now = (double)time(NULL);
    for (const struct dirent *entry; (entry = readdir(folder));) {
        const size_t length = strlen(entry->d_name), tail = strlen(FILE_PARTIAL);
        struct stat facts;
        if (length <= tail || strcmp(entry->d_name + length - tail, FILE_PARTIAL) != 0 ||
            fstatat(dirfd(folder), entry->d_name, &facts, 0) != 0)
            continue;
        const bool ours = !shared || strncmp(entry->d_name, shared, strlen(shared)) != 0;
        if (ours || now - (double)facts.st_mtime >= seconds)
            unlinkat(dirfd(folder), entry->d_name, 0);
    }
    closedir(folder);
}

static int remove_entry(const char *path, const struct stat *facts, int kind, struct FTW *place) {
    (void)facts, (void)kind, (void)place;
    return remove(path);
}

void folder_remove(const char *path) {
    nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}
