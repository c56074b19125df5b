/* Sets of small labelled pictures, and the formats in which they are published. */
#ifndef LONGHAUL_PICTURES_H
#define LONGHAUL_PICTURES_H

#include <stdint.h>

#include "engine/status.h"

/* count pictures of `bytes` bytes each, one after the other, with labels 0 .. 9. */
typedef struct Pictures {
    uint8_t *pixels, *labels;
    int64_t count, bytes;
} Pictures;

void pictures_free(Pictures *pictures);

/* MNIST's IDX files (http://yann.lecun.com/exdb/mnist), gzipped or not: 28 x 28 bytes each. */
Status pictures_read_idx(const char *images, const char *labels, Pictures *pictures, Error *error);

/* Appends a file of CIFAR-10's binary version: records of a label and 3 x 32 x 32 bytes, red, green
 * and blue planes. */
Status pictures_read_cifar(const char *path, Pictures *pictures, Error *error);

/* What a whole set must have: pictures, every label, and something on (nearly) all of them. `what`
 * names it. */
Status pictures_check(const Pictures *pictures, const char *what, Error *error);

#endif
