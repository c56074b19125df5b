#include "tasks/archive.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <sha2.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/file.h"
#include "tasks/cache.h"

/* ---- members ---- */

static bool leads_out(const char *name) {
    if (name[0] == '/' || name[0] == '\0') return true;
    for (const char *part = name; part; part = strchr(part, '/')) {
        part += *part == '/';
        if (strncmp(part, "..", 2) == 0 && (part[2] == '/' || part[2] == '\0')) return true;
    }
    return false;
}

FILE *archive_member(const Unpacking *unpacking, const char *name, Error *error) {
    char path[PATH_MAX], folder[PATH_MAX];
    if (leads_out(name)) {
        error_set(error, STATUS_DATA,
                  "%s: the name '%.80s' in it leads out of the folder; nothing was unpacked",
                  unpacking->archive, name);
        return NULL;
    }
    if (path_join(path, unpacking->folder, name, error) != STATUS_OK) return NULL;
    snprintf(folder, sizeof folder, "%s", path);
    *strrchr(folder, '/') = '\0';
    if (folder_make(folder, error) != STATUS_OK) return NULL;
    FILE *file = fopen(path, "wb");
    if (!file) error_set(error, STATUS_IO, "creating %s: %s", path, strerror(errno));
    return file;
}

Status archive_member_close(const Unpacking *unpacking, const char *name, FILE *file,
                            Error *error) {
    const bool good = !ferror(file);
    if (fclose(file) == 0 && good) return STATUS_OK;
    return error_set(error, STATUS_IO, "writing %s/%s: %s; free some space and run again",
                     unpacking->folder, name, strerror(errno));
}

/* ---- the whole ---- */

static bool is_zip(const char *path) {
    char start[4] = "";
    FILE *file = fopen(path, "rb");
    if (!file) return false;
    const bool equal = fread(start, 1, 4, file) == 4 && memcmp(start, "PK\3\4", 4) == 0;
    fclose(file);
    return equal;
}

/* What is renamed must not be lost by a power cut before its content is on the disk. */
static void flush(const char *folder) {
    const int descriptor = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor < 0) return;
    syncfs(descriptor);
    close(descriptor);
}

Status archive_unpack(const char *archive, const char *folder, Error *error) {
    char temporary[PATH_MAX];
    if (file_exists(folder)) return STATUS_OK;
    if (snprintf(temporary, sizeof temporary, "%s.%ld" FILE_PARTIAL, folder, (long)getpid()) >=
        PATH_MAX)
        return error_set(error, STATUS_IO, "path is too long: %.80s...", folder);
    if (folder_make(temporary, error) != STATUS_OK) return error->status;
    const Unpacking unpacking = {archive, temporary};
    Status status = is_zip(archive) ? zip_unpack(&unpacking, error) : tar_unpack(&unpacking, error);
    if (status == STATUS_OK) flush(temporary);
    if (status == STATUS_OK && rename(temporary, folder) == 0) return STATUS_OK;
    if (status == STATUS_OK && !file_exists(folder))
        status = error_set(error, STATUS_IO, "renaming the unpacked folder to %s: %s", folder,
                           strerror(errno));
    folder_remove(temporary);
    return status;
}

Status archive_cached(const char *archive, char folder[], size_t size, Error *error) {
    struct stat facts;
    char cache[PATH_MAX], full[PATH_MAX], key[PATH_MAX + 64], digest[SHA256_DIGEST_STRING_LENGTH];
    if (!realpath(archive, full) || stat(full, &facts) != 0)
        return error_set(error, STATUS_DATA, "%s: %s", archive, strerror(errno));
    if (cache_folder(cache, error) != STATUS_OK) return error->status;
    snprintf(key, sizeof key, "%s %jd %jd.%09ld", full, (intmax_t)facts.st_size,
             (intmax_t)facts.st_mtim.tv_sec, facts.st_mtim.tv_nsec);
    SHA256Data((const uint8_t *)key, strlen(key), digest);
    const char *name = strrchr(full, '/') + 1;
    if (snprintf(folder, size, "%s/%s-%.16s", cache, name, digest) >= (int)size)
        return error_set(error, STATUS_IO, "path is too long: %.80s...", cache);
    if (file_exists(folder)) return STATUS_OK;
    if (folder_make(cache, error) != STATUS_OK)
        return error_context(error, "unpacking %s (LONGHAUL_CACHE chooses another place)", archive);
    fprintf(stderr, "unpacking %s into %s\n", archive, folder);
    return archive_unpack(archive, folder, error);
}
