/* JSON files that carry a schema number and the SHA-256 of their own content, so that a truncated
 * or changed file is found and named: result.json, failure.json, checkpoint.json. */
#ifndef LONGHAUL_DOCUMENT_H
#define LONGHAUL_DOCUMENT_H

#include "engine/status.h"

struct json_t; /* jansson */

/* Raised when a field changes its meaning; a reader refuses other numbers. */
enum { DOCUMENT_SCHEMA = 1 };

/* Adds "schema" to the object and writes it, with "sha256" of the text before it as last member, as
 * engine/file.h promises. STATUS_IO. */
Status document_write(const char *path, struct json_t *object, Error *error);

/* A new reference. STATUS_DATA for a missing, truncated, changed or other-schema file, named. */
Status document_read(const char *path, struct json_t **object, Error *error);

/* SHA-256 of a whole file as 64 hexadecimal digits. STATUS_DATA when missing, STATUS_IO. */
enum { DIGEST_BYTES = 65 };
Status file_digest(const char *path, char digest[DIGEST_BYTES], Error *error);

#endif
