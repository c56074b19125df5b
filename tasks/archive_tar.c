/* The tar format (POSIX ustar and pax, GNU's long names). */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "tasks/archive.h"
#include "tasks/packed.h"

enum { BLOCK = 512, NAME_OFFSET = 0, SIZE_OFFSET = 124, SUM_OFFSET = 148, TYPE_OFFSET = 156 };
enum { MAGIC_OFFSET = 257, PREFIX_OFFSET = 345, PREFIX_BYTES = 155 };
enum { LONG_NAME_MOST = 1 << 16 };

typedef struct Reader {
    const Unpacking *unpacking;
    FILE *stream;
    Error *error;
    char long_name[4096]; /* of the next member; "" for none */
} Reader;

static Status cut_off(const Reader *reader) {
    return error_set(reader->error, STATUS_DATA,
                     "%s: the archive is cut off or damaged; fetch it again",
                     reader->unpacking->archive);
}

/* Octal digits, or GNU's binary form for sizes beyond them. -1 when it is no number, or one that no
 * disk holds. */
static long long number_at(const unsigned char *field, int bytes) {
    long long value = 0;
    if (field[0] & 0x80) {
        for (int i = 1; i < bytes && value >= 0; i++)
            value = value >> 48 ? -1 : value << 8 | field[i];
        return field[0] == 0x80 ? value : -1;
    }
    int i = 0;
    while (i < bytes && field[i] == ' ') i++;
    for (; i < bytes && field[i] >= '0' && field[i] <= '7'; i++) value = 8 * value + field[i] - '0';
    return i < bytes && field[i] != ' ' && field[i] != '\0' ? -1 : value;
}

static bool sum_fits(const unsigned char block[BLOCK]) {
    long long sum = 0;
    for (int i = 0; i < BLOCK; i++) sum += i >= SUM_OFFSET && i < SUM_OFFSET + 8 ? ' ' : block[i];
    return sum == number_at(block + SUM_OFFSET, 8);
}

static bool is_zero(const unsigned char block[BLOCK]) {
    for (int i = 0; i < BLOCK; i++)
        if (block[i]) return false;
    return true;
}

/* Copies `size` bytes and their padding to the file, or past it when there is none. */
static Status copy(Reader *reader, long long size, FILE *to) {
    unsigned char block[BLOCK * 16];
    while (size > 0) {
        const long long left = (size + BLOCK - 1) / BLOCK * BLOCK;
        const size_t part = left < (long long)sizeof block ? (size_t)left : sizeof block;
        if (fread(block, 1, part, reader->stream) != part) return cut_off(reader);
        if (to) fwrite(block, 1, size < (long long)part ? (size_t)size : part, to);
        size -= (long long)part;
    }
    return STATUS_OK;
}

/* "LENGTH path=NAME\n" among the records of a pax header. */
static void take_pax_name(Reader *reader, char *text, size_t size) {
    for (char *at = text; at < text + size;) {
        char *end;
        const long length = strtol(at, &end, 10);
        if (length <= 0 || *end != ' ' || length > text + size - at) return;
        if (strncmp(end + 1, "path=", 5) == 0) {
            const long bytes = length - (end + 6 - at) - 1;
            if (bytes <= 0) return;
            snprintf(reader->long_name, sizeof reader->long_name, "%.*s", (int)bytes, end + 6);
        }
        at += length;
    }
}

/* A member that only carries a name: GNU's 'L' or a pax header 'x'. */
static Status read_name(Reader *reader, long long size, char type) {
    if (size <= 0 || size > LONG_NAME_MOST) return cut_off(reader);
    const size_t padded = (size_t)((size + BLOCK - 1) / BLOCK * BLOCK);
    char *text = malloc(padded + 1);
    if (!text || fread(text, 1, padded, reader->stream) != padded) {
        free(text);
        return cut_off(reader);
    }
    text[size] = '\0';
    if (type == 'L')
        snprintf(reader->long_name, sizeof reader->long_name, "%s", text);
    else
        take_pax_name(reader, text, (size_t)size);
    free(text);
    return STATUS_OK;
}

static Status unpack_file(Reader *reader, const char *name, long long size) {
    FILE *file = archive_member(reader->unpacking, name, reader->error);
    if (!file) return reader->error->status;
    Status status = copy(reader, size, file);
    const Status closed = archive_member_close(reader->unpacking, name, file, reader->error);
    return status == STATUS_OK ? closed : status;
}

static Status read_member(Reader *reader, const unsigned char block[BLOCK]) {
    const char type = (char)block[TYPE_OFFSET];
    const long long size = number_at(block + SIZE_OFFSET, 12);
    if (size < 0) return cut_off(reader);
    if (type == 'L' || type == 'x') return read_name(reader, size, type);
    const bool file = type == '0' || type == '\0' || type == '7';
    char name[4096];
    const char *prefix =
        memcmp(block + MAGIC_OFFSET, "ustar", 6) == 0 ? (const char *)block + PREFIX_OFFSET : "";
    if (reader->long_name[0])
        snprintf(name, sizeof name, "%s", reader->long_name);
    else
        snprintf(name, sizeof name, "%.*s%s%.100s", PREFIX_BYTES, prefix, *prefix ? "/" : "",
                 (const char *)block + NAME_OFFSET);
    reader->long_name[0] = '\0';
    return file ? unpack_file(reader, name, size) : copy(reader, size, NULL);
}

Status tar_unpack(const Unpacking *unpacking, Error *error) {
    PackedFile file;
    if (packed_open(&file, unpacking->archive, error) != STATUS_OK) return error->status;
    Reader reader = {.unpacking = unpacking, .stream = file.stream, .error = error};
    unsigned char block[BLOCK];
    Status status = STATUS_OK;
    for (bool first = true; status == STATUS_OK; first = false) {
        if (fread(block, 1, BLOCK, file.stream) != BLOCK) {
            status = cut_off(&reader);
        } else if (is_zero(block)) {
            if (first) status = cut_off(&reader); /* a file of zeros */
            break;
        } else if (!sum_fits(block)) {
            status = error_set(error, STATUS_DATA,
                               first ? "%s is neither a tar nor a zip archive; fetch it again"
                                     : "%s: the archive is damaged; fetch it again",
                               unpacking->archive);
        } else {
            status = read_member(&reader, block);
        }
    }
    /* The rest, zeros, is read too: only at its end does a packed file show that it is whole. */
    while (status == STATUS_OK && fread(block, 1, BLOCK, file.stream) == BLOCK) continue;
    const Status closed = packed_close(&file, status == STATUS_OK ? error : NULL);
    return status == STATUS_OK ? closed : status;
}
