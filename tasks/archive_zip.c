/* The zip format (PKWARE's APPNOTE): stored and deflated members below 4 GiB. */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "engine/file.h"
#include "tasks/archive.h"

enum { LOCAL = 0x04034B50, CENTRAL = 0x02014B50, END = 0x06054B50 };
enum { LOCAL_BYTES = 30, CENTRAL_BYTES = 46, END_BYTES = 22, STORED = 0, DEFLATED = 8 };

typedef struct Zip {
    const Unpacking *unpacking;
    const uint8_t *bytes;
    size_t size;
    Error *error;
} Zip;

static uint32_t u16(const uint8_t *at) {
    return (uint32_t)(at[0] | at[1] << 8);
}
static uint32_t u32(const uint8_t *at) {
    return u16(at) | u16(at + 2) << 16;
}

static Status damaged(const Zip *zip, const char *what) {
    return error_set(zip->error, STATUS_DATA,
                     "%s: the archive is cut off or damaged (%s); fetch it again",
                     zip->unpacking->archive, what);
}

/* Unpacks `size` bytes into `length` of them in the file, whose checksum is `sum`. Nothing much
 * longer is written: a few bytes can unpack to a full disk. */
static Status inflate_into(const Zip *zip, const uint8_t *from, size_t size, size_t length,
                           uint32_t sum, FILE *to) {
    enum { PART = 1 << 18 };
    uint8_t *part = malloc(PART);
    z_stream stream = {.next_in = (Bytef *)from, .avail_in = (uInt)size};
    if (!part || inflateInit2(&stream, -MAX_WBITS) != Z_OK) {
        free(part);
        return error_set(zip->error, STATUS_IO, "no memory to unpack %s", zip->unpacking->archive);
    }
    uLong found = crc32(0, NULL, 0);
    int code = Z_OK;
    while (code == Z_OK) {
        stream.next_out = part;
        stream.avail_out = PART;
        code = inflate(&stream, Z_NO_FLUSH);
        const uInt got = PART - stream.avail_out;
        found = crc32(found, part, got);
        fwrite(part, 1, got, to);
        if (stream.total_out > length || (got == 0 && stream.avail_in == 0)) break;
    }
    const bool good = code == Z_STREAM_END && stream.total_out == length && found == sum;
    inflateEnd(&stream);
    free(part);
    return good ? STATUS_OK : damaged(zip, "a member does not unpack to what its checksum says");
}

static Status store_into(const Zip *zip, const uint8_t *from, size_t size, uint32_t sum, FILE *to) {
    fwrite(from, 1, size, to);
    return crc32(0, from, (uInt)size) == sum ? STATUS_OK
                                             : damaged(zip, "a member has another checksum");
}

static Status read_member(const Zip *zip, const uint8_t *central, const char *name) {
    const uint32_t method = u16(central + 10), sum = u32(central + 16);
    const size_t size = u32(central + 20), length = u32(central + 24), at = u32(central + 42);
    if (at + LOCAL_BYTES > zip->size || u32(zip->bytes + at) != LOCAL)
        return damaged(zip, "a member is missing");
    const uint8_t *local = zip->bytes + at;
    const size_t start = at + LOCAL_BYTES + u16(local + 26) + u16(local + 28);
    if (start + size > zip->size) return damaged(zip, "a member is cut off");
    if (method != STORED && method != DEFLATED)
        return error_set(zip->error, STATUS_DATA,
                         "%s: '%s' is packed by method %u; unpack the archive by hand",
                         zip->unpacking->archive, name, method);
    FILE *file = archive_member(zip->unpacking, name, zip->error);
    if (!file) return zip->error->status;
    const uint8_t *from = zip->bytes + start;
    Status status = method == STORED ? store_into(zip, from, size, sum, file)
                                     : inflate_into(zip, from, size, length, sum, file);
    const Status closed = archive_member_close(zip->unpacking, name, file, zip->error);
    return status == STATUS_OK ? closed : status;
}

/* The directory stands at the end, before a comment of unknown length. */
static const uint8_t *find_end(const Zip *zip) {
    for (size_t back = END_BYTES; back <= zip->size && back < END_BYTES + 65536; back++)
        if (u32(zip->bytes + zip->size - back) == END) return zip->bytes + zip->size - back;
    return NULL;
}

static Status read_directory(const Zip *zip) {
    const uint8_t *end = find_end(zip);
    if (!end) return damaged(zip, "its directory is missing");
    size_t at = u32(end + 16);
    const uint32_t members = u16(end + 10);
    for (uint32_t i = 0; i < members; i++) {
        if (at + CENTRAL_BYTES > zip->size || u32(zip->bytes + at) != CENTRAL)
            return damaged(zip, "its directory");
        const uint8_t *central = zip->bytes + at;
        const size_t length = u16(central + 28);
        char name[4096];
        if (at + CENTRAL_BYTES + length > zip->size || length >= sizeof name)
            return damaged(zip, "a name");
        memcpy(name, central + CENTRAL_BYTES, length);
        name[length] = '\0';
        at += CENTRAL_BYTES + length + u16(central + 30) + u16(central + 32);
        if (length > 0 && name[length - 1] == '/') continue; /* a folder */
        if (read_member(zip, central, name) != STATUS_OK) return zip->error->status;
    }
    return STATUS_OK;
}

Status zip_unpack(const Unpacking *unpacking, Error *error) {
    char *bytes;
    size_t size;
    if (file_read(unpacking->archive, &bytes, &size, error) != STATUS_OK) return error->status;
    const Zip zip = {unpacking, (uint8_t *)bytes, size, error};
    const Status status = read_directory(&zip);
    free(bytes);
    return status;
}
