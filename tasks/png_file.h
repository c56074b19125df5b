/* Grey pictures as PNG files. */
#ifndef LONGHAUL_PNG_FILE_H
#define LONGHAUL_PNG_FILE_H

#include <stddef.h>
#include <stdint.h>

#include "engine/status.h"

/* Checks the start (an 8-bit grey picture of this size) and the end of a PNG file in memory.
 * STATUS_DATA names what is wrong; the caller adds the file. */
Status png_check(const uint8_t *bytes, size_t count, int width, int height, Error *error);

/* Decodes it into width * height bytes. STATUS_DATA when the picture is damaged or of another size.
 */
Status png_decode(const uint8_t *bytes, size_t count, int width, int height, uint8_t *grey,
                  Error *error);

/* STATUS_IO. */
Status png_write(const char *path, int width, int height, const uint8_t *grey, Error *error);

#endif
