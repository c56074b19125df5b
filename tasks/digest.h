/* Digests of files, as data sets are published with them. */
#ifndef LONGHAUL_DIGEST_H
#define LONGHAUL_DIGEST_H

#include "engine/status.h"

enum { DIGEST_BYTES = 80 };

/* Digest of a file in the same form as `like`: "sha256:HEX", "sha1:HEX", "md5:HEX", or "git:HEX",
 * which is Git's name for the content. STATUS_DATA for a file that is not there. */
Status digest_file(const char *path, const char *like, char text[DIGEST_BYTES], Error *error);

/* The same of what a packed file holds (tasks/packed.h). */
Status digest_content(const char *path, const char *like, char text[DIGEST_BYTES], Error *error);

/* Compares digest_file with what is expected. STATUS_DATA with both values. */
Status digest_check(const char *path, const char *expected, Error *error);

#endif
