#include "tasks/png_file.h"

#include <png.h>
#include <string.h>

static int big_endian(const uint8_t *bytes) {
    return (int)((uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 |
                 bytes[3]);
}

Status png_check(const uint8_t *bytes, size_t count, int width, int height, Error *error) {
    static const uint8_t signature[] = {137, 'P', 'N', 'G', 13, 10, 26, 10};
    enum { HEADER = 33, TRAILER = 12, SIZE = 16, DEPTH = 24 };
    if (count < HEADER + TRAILER || memcmp(bytes, signature, sizeof signature) != 0)
        return error_set(error, STATUS_DATA, "not a PNG file");
    if (memcmp(bytes + count - TRAILER + 4, "IEND", 4) != 0)
        return error_set(error, STATUS_DATA, "the PNG file is cut off");
    if (big_endian(bytes + SIZE) != width || big_endian(bytes + SIZE + 4) != height ||
        bytes[DEPTH] != 8 || bytes[DEPTH + 1] != PNG_COLOR_TYPE_GRAY)
        return error_set(error, STATUS_DATA, "not an 8-bit grey picture of %d x %d pixels", width,
                         height);
    return STATUS_OK;
}

Status png_decode(const uint8_t *bytes, size_t count, int width, int height, uint8_t *grey,
                  Error *error) {
    if (png_check(bytes, count, width, height, error) != STATUS_OK) return STATUS_DATA;
    png_image image = {.version = PNG_IMAGE_VERSION};
    if (png_image_begin_read_from_memory(&image, bytes, count)) {
        image.format = PNG_FORMAT_GRAY;
        if (png_image_finish_read(&image, NULL, grey, width, NULL) && image.warning_or_error == 0)
            return STATUS_OK;
    }
    png_image_free(&image);
    return error_set(error, STATUS_DATA, "the PNG file is damaged: %s", image.message);
}

Status png_write(const char *path, int width, int height, const uint8_t *grey, Error *error) {
    png_image image = {.version = PNG_IMAGE_VERSION,
                       .width = (png_uint_32)width,
                       .height = (png_uint_32)height,
                       .format = PNG_FORMAT_GRAY};
    if (png_image_write_to_file(&image, path, 0, grey, width, NULL)) return STATUS_OK;
    return error_set(error, STATUS_IO, "%s: %s", path, image.message);
}
