#include "tasks/packed.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "engine/file.h"
#include "engine/process.h"

/* ---- a stream over gzip (or plain bytes, which zlib passes through) ---- */

static ssize_t gz_read(void *cookie, char *to, size_t size) {
    const int got = gzread(cookie, to, (unsigned)(size < 1u << 30 ? size : 1u << 30));
    return got;
}

/* A file that is cut off in mid-stream reads as short; only closing tells. */
static int gz_close(void *cookie) {
    gzFile file = cookie;
    int code;
    gzerror(file, &code);
    return gzclose_r(file) == Z_OK && code == Z_OK ? 0 : -1;
}

static FILE *open_gz(const char *path) {
    gzFile file = gzopen(path, "rb");
    if (!file) return NULL;
    gzbuffer(file, 1 << 17);
    return fopencookie(file, "r", (cookie_io_functions_t){.read = gz_read, .close = gz_close});
}

/* ---- a stream over the output of zstd ---- */

static ssize_t zstd_read(void *cookie, char *to, size_t size) {
    const Process *process = cookie;
    for (;;) {
        const ssize_t got = read(process->output, to, size);
        if (got >= 0 || errno != EINTR) return got;
    }
}

static int zstd_close(void *cookie) {
    Process *process = cookie;
    char rest[1]; /* whoever stops reading early has no interest in how zstd ends */
    const bool ended = read(process->output, rest, 1) == 0;
    const int code = process_wait(process);
    free(process);
    return ended && code != 0 ? -1 : 0;
}

static FILE *open_zstd(const char *path, Error *error) {
    const char *const words[] = {"zstd", "-dcq", "--", path, NULL};
    Process *process = malloc(sizeof *process);
    if (!process || process_start(process, words, true, error) != STATUS_OK) {
        free(process);
        return NULL;
    }
    return fopencookie(process, "r",
                       (cookie_io_functions_t){.read = zstd_read, .close = zstd_close});
}

/* ---- */

static bool is_zstd(const char *path) {
    static const unsigned char magic[] = {0x28, 0xB5, 0x2F, 0xFD};
    unsigned char start[sizeof magic] = {0};
    FILE *file = fopen(path, "rb");
    if (!file) return false;
    const bool equal =
        fread(start, 1, sizeof start, file) == sizeof start && memcmp(start, magic, 4) == 0;
    fclose(file);
    return equal;
}

Status packed_open(PackedFile *file, const char *path, Error *error) {
    *file = (PackedFile){.path = path};
    if (!file_exists(path)) return error_set(error, STATUS_DATA, "no file %s", path);
    if (is_zstd(path)) {
        file->stream = open_zstd(path, error);
        if (!file->stream) return error_context(error, "%s", path);
    } else {
        file->stream = open_gz(path);
    }
    if (file->stream) return STATUS_OK;
    return error_set(error, STATUS_DATA, "%s: %s", path, strerror(errno));
}

Status packed_close(PackedFile *file, Error *error) {
    if (!file->stream) return STATUS_OK;
    const bool failed = ferror(file->stream) != 0;
    const bool closed = fclose(file->stream) == 0;
    file->stream = NULL;
    if (closed && !failed) return STATUS_OK;
    return error_set(error, STATUS_DATA,
                     "%s is damaged or cut off: it does not unpack to its end; fetch it again",
                     file->path);
}

Status packed_read(const char *path, char **data, size_t *bytes, Error *error) {
    PackedFile file;
    *data = NULL;
    *bytes = 0;
    if (packed_open(&file, path, error) != STATUS_OK) return error->status;
    size_t room = 1 << 16, used = 0;
    char *memory = malloc(room + 1);
    while (memory) {
        used += fread(memory + used, 1, room - used, file.stream);
        if (used < room) break;
        char *more = realloc(memory, 2 * room + 1);
        if (!more) free(memory);
        memory = more;
        room *= 2;
    }
    Status status = packed_close(&file, error);
    if (!memory && status == STATUS_OK)
        status = error_set(error, STATUS_IO, "%s: no memory for what it holds", path);
    if (status != STATUS_OK) {
        free(memory);
        return status;
    }
    memory[used] = '\0';
    *data = memory;
    *bytes = used;
    return STATUS_OK;
}
