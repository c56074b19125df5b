#include "bench/document.h"

#include <errno.h>
#include <jansson.h>
#include <sha2.h>
#include <stdlib.h>
#include <string.h>

#include "engine/file.h"

/* Digest of the canonical text of the object: sorted keys, no blanks, every digit of a real. */
static bool content_digest(json_t *object, char digest[DIGEST_BYTES]) {
    char *text = json_dumps(object, JSON_COMPACT | JSON_SORT_KEYS);
    if (text) SHA256Data((const uint8_t *)text, strlen(text), digest);
    free(text);
    return text != NULL;
}

Status document_write(const char *path, json_t *object, Error *error) {
    char digest[DIGEST_BYTES];
    json_object_del(object, "sha256");
    json_object_set_new(object, "schema", json_integer(DOCUMENT_SCHEMA));
    if (!content_digest(object, digest)) return error_set(error, STATUS_IO, "out of memory");
    json_object_set_new(object, "sha256", json_string(digest));
    char *text = json_dumps(object, JSON_INDENT(1) | JSON_PRESERVE_ORDER);
    if (!text) return error_set(error, STATUS_IO, "out of memory");
    const Status status = file_write(path, text, strlen(text), error);
    free(text);
    return status;
}

/* Takes the stored digest out of the object and compares it with the content's. */
static Status check_content(const char *path, json_t *object, Error *error) {
    const json_t *schema = json_object_get(object, "schema");
    if (json_is_integer(schema) && json_integer_value(schema) != DOCUMENT_SCHEMA)
        return error_set(error, STATUS_DATA,
                         "%s has schema %lld, this program reads %d; use the version that wrote "
                         "it, or run again with --force",
                         path, (long long)json_integer_value(schema), DOCUMENT_SCHEMA);
    json_t *stored = json_incref(json_object_get(object, "sha256"));
    char digest[DIGEST_BYTES];
    json_object_del(object, "sha256");
    const bool good = json_is_string(stored) && content_digest(object, digest) &&
                      strcmp(json_string_value(stored), digest) == 0;
    json_decref(stored);
    if (good) return STATUS_OK;
    return error_set(error, STATUS_DATA,
                     "%s does not fit its own checksum: it was changed after it was written; "
                     "restore it, or remove it to have it made again",
                     path);
}

Status document_read(const char *path, json_t **object, Error *error) {
    char *text;
    size_t bytes;
    *object = NULL;
    Status status = file_read(path, &text, &bytes, error);
    if (status != STATUS_OK) return status;
    json_error_t problem;
    *object = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, &problem);
    free(text);
    if (!json_is_object(*object))
        status = error_set(error, STATUS_DATA,
                           "%s line %d: %s; it was truncated or changed: restore it, or remove it "
                           "to have it made again",
                           path, *object ? 1 : problem.line,
                           *object ? "not a JSON object" : problem.text);
    else
        status = check_content(path, *object, error);
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
