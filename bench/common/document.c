#include "bench/common/document.h"

#include <errno.h>
#include <jansson.h>
#include <sha2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/file.h"
#include "engine/memory.h"

/* The file is the object's text up to its last brace, then this tail: the digest is that of every
 * byte before the tail. */
static const char tail_start[] = ",\n \"sha256\": \"", tail_end[] = "\"\n}\n";
enum { TAIL_BYTES = sizeof tail_start - 1 + DIGEST_BYTES - 1 + sizeof tail_end - 1 };

Status document_write(const char *path, json_t *object, Error *error) {
    json_object_set_new(object, "schema", json_integer(DOCUMENT_SCHEMA));
    char *text = json_dumps(object, JSON_INDENT(1) | JSON_PRESERVE_ORDER);
    const size_t body = text ? strlen(text) - strlen("\n}") : 0;
    char *whole = text ? memory_take(body + TAIL_BYTES + 1) : NULL;
    Status status = STATUS_OK;
    if (whole) {
        char digest[DIGEST_BYTES];
        memcpy(whole, text, body);
        SHA256Data((const uint8_t *)text, body, digest);
        snprintf(whole + body, TAIL_BYTES + 1, "%s%s%s", tail_start, digest, tail_end);
        status = file_write(path, whole, body + TAIL_BYTES, error);
    } else {
        status = error_set(error, STATUS_IO, "out of memory");
    }
    free(text);
    free(whole);
    return status;
}

static bool text_is_whole(const char *text, size_t bytes) {
    if (bytes < TAIL_BYTES) return false;
    char digest[DIGEST_BYTES], tail[TAIL_BYTES + 1];
    SHA256Data((const uint8_t *)text, bytes - TAIL_BYTES, digest);
    snprintf(tail, sizeof tail, "%s%s%s", tail_start, digest, tail_end);
    return memcmp(text + bytes - TAIL_BYTES, tail, TAIL_BYTES) == 0;
}

static Status check(const char *path, const char *text, size_t bytes, const json_t *object,
                    const json_error_t *problem, Error *error) {
    static const char advice[] = "restore it, or remove it to have it made again";
    if (!json_is_object(object))
        return error_set(error, STATUS_DATA, "%s line %d: %s; it was truncated or changed: %s",
                         path, object ? 1 : problem->line,
                         object ? "not a JSON object" : problem->text, advice);
    const json_t *schema = json_object_get(object, "schema");
    if (json_is_integer(schema) && json_integer_value(schema) != DOCUMENT_SCHEMA)
        return error_set(error, STATUS_DATA,
                         "%s has schema %lld, this program reads %d; use the version that wrote "
                         "it, or run again with --force",
                         path, (long long)json_integer_value(schema), DOCUMENT_SCHEMA);
    if (text_is_whole(text, bytes)) return STATUS_OK;
    return error_set(error, STATUS_DATA,
                     "%s does not fit its own checksum: it was changed after it was written; %s",
                     path, advice);
}

Status document_read(const char *path, json_t **object, Error *error) {
    char *text;
    size_t bytes;
    *object = NULL;
    Status status = file_read(path, &text, &bytes, error);
    if (status != STATUS_OK) return status;
    json_error_t problem;
    *object = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, &problem);
    status = check(path, text, bytes, *object, &problem, error);
    free(text);
    if (status == STATUS_OK) return STATUS_OK;
    json_decref(*object);
    *object = NULL;
    return status;
}

Status file_digest(const char *path, char digest[DIGEST_BYTES], Error *error) {
    if (!file_exists(path)) return error_set(error, STATUS_DATA, "no file %s", path);
    if (SHA256File(path, digest)) return STATUS_OK;
    return error_set(error, STATUS_IO, "reading %s: %s", path, strerror(errno));
}
