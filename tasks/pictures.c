#include "tasks/pictures.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "tasks/packed.h"

enum { CLASSES = 10 };

void pictures_free(Pictures *pictures) {
    free(pictures->pixels);
    free(pictures->labels);
    *pictures = (Pictures){0};
}

static Status grow(Pictures *pictures, int64_t more, Error *error) {
    const size_t count = (size_t)(pictures->count + more);
    uint8_t *pixels = realloc(pictures->pixels, count * (size_t)pictures->bytes + 1);
    if (pixels) pictures->pixels = pixels;
    uint8_t *labels = realloc(pictures->labels, count + 1);
    if (labels) pictures->labels = labels;
    return pixels && labels ? STATUS_OK
                            : error_set(error, STATUS_IO, "no memory for %zu pictures", count);
}

static Status check_label(const char *path, int64_t index, uint8_t label, Error *error) {
    if (label < CLASSES) return STATUS_OK;
    return error_set(error, STATUS_DATA,
                     "%s: picture %lld has label %d, expected 0 to 9; the file is damaged", path,
                     (long long)index, label);
}

/* ---- IDX ---- */

/* Reads the header of an IDX file of bytes with `rank` extents, each expected to be `expected`
 * unless that is 0, and returns the first one. -1 after an error. */
static int64_t read_header(gzFile file, const char *path, int rank, int expected, Error *error) {
    uint8_t bytes[16];
    const int size = 4 + 4 * rank;
    if (gzread(file, bytes, (unsigned)size) != size || bytes[0] != 0 || bytes[1] != 0 ||
        bytes[2] != 8 || bytes[3] != rank) {
        error_set(error, STATUS_DATA,
                  "%s: not an IDX file of bytes with %d extents; expected a file of MNIST or "
                  "Fashion-MNIST, gzipped or not",
                  path, rank);
        return -1;
    }
    enum { MOST = 1 << 20 }; /* memory for a count is taken before the pictures have been seen */
    int64_t count = 0;
    for (int i = rank - 1; i >= 0; i--) {
        const uint8_t *b = bytes + 4 + 4 * i;
        count = (int64_t)b[0] << 24 | (int64_t)b[1] << 16 | (int64_t)b[2] << 8 | b[3];
        if (i > 0 && count != expected) {
            error_set(error, STATUS_DATA, "%s: pictures of extent %lld, expected %d", path,
                      (long long)count, expected);
            return -1;
        }
    }
    if (count <= MOST) return count;
    error_set(
        error, STATUS_DATA,
        "%s: its header promises %lld pictures; expected at most %d (MNIST has 60000), so it is "
        "damaged",
        path, (long long)count, MOST);
    return -1;
}

static Status read_body(gzFile file, const char *path, uint8_t *to, int64_t bytes, Error *error) {
    int64_t done = 0;
    while (done < bytes) {
        const int64_t left = bytes - done, part = left < (1 << 20) ? left : 1 << 20;
        const int got = gzread(file, to + done, (unsigned)part);
        if (got <= 0) break;
        done += got;
    }
    uint8_t extra;
    if (done == bytes && gzread(file, &extra, 1) == 0 && gzeof(file)) return STATUS_OK;
    return error_set(error, STATUS_DATA,
                     "%s: %s the %lld bytes that its header promises; fetch it again", path,
                     done < bytes ? "damaged or shorter than" : "longer than", (long long)bytes);
}

static gzFile open_gz(const char *path, Error *error) {
    gzFile file = gzopen(path, "rb");
    if (!file) error_set(error, STATUS_DATA, "%s cannot be opened", path);
    return file;
}

Status pictures_read_idx(const char *images, const char *labels, Pictures *pictures, Error *error) {
    enum { SIDE = 28 };
    *pictures = (Pictures){.bytes = SIDE * SIDE};
    gzFile image_file = open_gz(images, error);
    gzFile label_file = image_file ? open_gz(labels, error) : NULL;
    Status status = label_file ? STATUS_OK : STATUS_DATA;
    int64_t count = 0;
    if (status == STATUS_OK && (count = read_header(image_file, images, 3, SIDE, error)) < 0)
        status = STATUS_DATA;
    if (status == STATUS_OK) {
        const int64_t label_count = read_header(label_file, labels, 1, 0, error);
        if (label_count != count)
            status = label_count < 0
                         ? STATUS_DATA
                         : error_set(error, STATUS_DATA, "%s: %lld labels for %lld pictures",
                                     labels, (long long)label_count, (long long)count);
    }
    if (status == STATUS_OK) status = grow(pictures, count, error);
    if (status == STATUS_OK)
        status = read_body(image_file, images, pictures->pixels, count * pictures->bytes, error);
    if (status == STATUS_OK) status = read_body(label_file, labels, pictures->labels, count, error);
    for (int64_t i = 0; i < count && status == STATUS_OK; i++)
        status = check_label(labels, i, pictures->labels[i], error);
    if (image_file) gzclose(image_file);
    if (label_file) gzclose(label_file);
    if (status == STATUS_OK)
        pictures->count = count;
    else
        pictures_free(pictures);
    return status;
}

/* ---- CIFAR-10 ---- */

Status pictures_read_cifar(const char *path, Pictures *pictures, Error *error) {
    enum { BYTES = 3 * 32 * 32, RECORD = BYTES + 1 };
    char *data;
    size_t size;
    if (packed_read(path, &data, &size, error) != STATUS_OK) return error->status;
    const int64_t count = (int64_t)size / RECORD;
    pictures->bytes = BYTES;
    Status status = STATUS_OK;
    if (size == 0 || size % RECORD != 0)
        status = error_set(error, STATUS_DATA,
                           "%s: %zu bytes are no whole number of records of %d; the file is cut "
                           "off or not of CIFAR-10's binary version",
                           path, size, RECORD);
    if (status == STATUS_OK) status = grow(pictures, count, error);
    for (int64_t i = 0; i < count && status == STATUS_OK; i++) {
        const uint8_t *record = (const uint8_t *)data + i * RECORD;
        status = check_label(path, i, record[0], error);
        pictures->labels[pictures->count + i] = record[0];
        memcpy(pictures->pixels + (pictures->count + i) * BYTES, record + 1, BYTES);
    }
    if (status == STATUS_OK) pictures->count += count;
    free(data);
    return status;
}

/* All pixels alike: no picture of the real sets is. */
static bool is_blank(const uint8_t *pixels, int64_t bytes) {
    return memcmp(pixels, pixels + 1, (size_t)bytes - 1) == 0;
}

Status pictures_check(const Pictures *pictures, const char *what, Error *error) {
    int64_t classes[CLASSES] = {0}, blank = 0, first = -1;
    for (int64_t i = 0; i < pictures->count; i++) {
        classes[pictures->labels[i]]++;
        if (!is_blank(pictures->pixels + i * pictures->bytes, pictures->bytes)) continue;
        if (blank++ == 0) first = i;
    }
    if (pictures->count == 0) return error_set(error, STATUS_DATA, "%s: no pictures", what);
    if (100 * blank > pictures->count) /* room for a few in a set of somebody's own */
        return error_set(error, STATUS_DATA,
                         "%s: %lld of %lld pictures are blank, the first is number %lld; the file "
                         "is damaged (a download that broke off?)",
                         what, (long long)blank, (long long)pictures->count, (long long)first);
    for (int c = 0; c < CLASSES; c++)
        if (classes[c] == 0)
            return error_set(error, STATUS_DATA,
                             "%s: none of its %lld pictures has label %d; expected all ten", what,
                             (long long)pictures->count, c);
    return STATUS_OK;
}
