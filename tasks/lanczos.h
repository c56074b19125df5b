/* Shrinking 8-bit images with the Lanczos-3 filter, with the arithmetic of the Pillow library
 * (weights rounded to 22 fractional bits, 8 bits between the two passes), because published data
 * sets were made with it. */
#ifndef LONGHAUL_LANCZOS_H
#define LONGHAUL_LANCZOS_H

#include <stdint.h>

/* Filter from `from` samples to `to` samples along one axis. */
typedef struct Lanczos {
    int from, to, taps; /* most taps of an output sample */
    int *starts;        /* (to): first input sample */
    int *counts;        /* (to): input samples */
    int32_t *weights;   /* (to, taps) */
} Lanczos;

Lanczos lanczos_open(int from, int to); /* ends the program without memory */
void lanczos_close(Lanczos *filter);

/* Output sample `index` of a line whose input samples are `stride` bytes apart. */
uint8_t lanczos_sample(const Lanczos *filter, int index, const uint8_t *line, int stride);

/* Square image of filter->from squared bytes to filter->to squared bytes: along rows, then columns.
 */
void lanczos_square(const Lanczos *filter, const uint8_t *image, uint8_t *out);

#endif
