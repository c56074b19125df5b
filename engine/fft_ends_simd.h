/* Level 0 of a transform (engine/fft.h), fused with reading a signal and writing one: what a kernel
 * file does before and after ISA(fft_run). */
#ifndef LONGHAUL_FFT_ENDS_SIMD_H
#define LONGHAUL_FFT_ENDS_SIMD_H

#include "engine/fft_simd.h"

/* Real or imaginary part of point t. Callers hand over a local copy of what `source` points at:
 * nothing can then change it behind the passes' back, and what it says stays in registers. */
typedef vfloat FftReader(const void *source, int64_t t);
typedef void FftWriter(const void *target, int64_t t, vfloat value);

/* exp(-i pi k / 16): what brings point j + k n / 8 to x^n = -i, but for the part that depends on j
 * and stands in the table. */
static const float fft_bend[8][2] = {{1, 0},
                                     {0.98078528f, -0.19509032f},
                                     {0.92387953f, -0.38268343f},
                                     {0.83146961f, -0.55557023f},
                                     {0.70710678f, -0.70710678f},
                                     {0.55557023f, -0.83146961f},
                                     {0.38268343f, -0.92387953f},
                                     {0.19509032f, -0.98078528f}};

/* Rows of level 0 that are read or written together. Its eight streams lie a power of two of bytes
 * apart, and so do tensors: taken point by point they would fall into one set of the cache and wait
 * for each other's addresses, so each stream is followed for some rows at a time. */
enum { FFT_ROWS = 16 };
typedef vfloat FftRows[8][FFT_ROWS];

ALWAYS_INLINE void fft_read_rows(const void *source, int64_t points, int64_t first, FftReader *read,
                                 FftRows in) {
    for (int i = 0; i < 8; i++)
        for (int j = 0; j < FFT_ROWS; j++) in[i][j] = read(source, i * points / 8 + first + j);
}
ALWAYS_INLINE void fft_write_rows(const void *target, int64_t points, int64_t first,
                                  FftWriter *write, FftRows out) {
    for (int i = 0; i < 8; i++)
        for (int j = 0; j < FFT_ROWS; j++) write(target, i * points / 8 + first + j, out[i][j]);
}

/* Rows first .. first + FFT_ROWS - 1 of the pass; imaginary: NULL for a real signal. */
ALWAYS_INLINE void fft_read_part(const Fft *fft, float *buffer, int64_t first, const void *source,
                                 FftReader *real, FftReader *imaginary) {
    const float *w = fft->factors + 16 * first;
    const int64_t stride = fft->level[0].stride, place = fft_run_place(fft, 0, first);
    FftRows re, im;
    fft_read_rows(source, fft->points, first, real, re);
    if (imaginary) fft_read_rows(source, fft->points, first, imaginary, im);
    for (int j = 0; j < FFT_ROWS; j++, w += 16) {
        vcomplex x[8];
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) {
            const float *a = fft_bend[i], *b = fft_bend[i + 4];
            const vfloat low = re[i][j], high = re[i + 4][j];
            vcomplex y = {low * a[0], low * a[1]};
            if (imaginary) y = c_turn((vcomplex){low, im[i][j]}, a);
            x[i] = (vcomplex){y.re + high * b[0], y.im + high * b[1]};
            x[i + 4] = (vcomplex){y.re - high * b[0], y.im - high * b[1]};
            if (imaginary) {
                const vcomplex z = {-im[i + 4][j] * b[1], im[i + 4][j] * b[0]};
                x[i] = c_add(x[i], z);
                x[i + 4] = c_subtract(x[i + 4], z);
            }
        }
        butterfly8_after(x);
        for (int q = 0; q < 8; q++)
            c_store(buffer, place + j + q * stride, c_turn(x[q], w + 2 * q));
    }
}

ALWAYS_INLINE void fft_write_part(const Fft *fft, const float *buffer, int64_t first,
                                  const void *target, FftWriter *real, FftWriter *imaginary) {
    const float *w = fft->factors + 16 * first;
    const int64_t stride = fft->level[0].stride, place = fft_run_place(fft, 0, first);
    FftRows re, im;
    for (int j = 0; j < FFT_ROWS; j++, w += 16) {
        vcomplex x[8];
        for (int q = 0; q < 8; q++)
            x[q] = c_turn_back(c_load(buffer, place + j + q * stride), w + 2 * q);
        butterfly8_before_back(x);
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) {
            const vcomplex low = c_turn_back(c_add(x[i], x[i + 4]), fft_bend[i]);
            const vcomplex high = c_turn_back(c_subtract(x[i], x[i + 4]), fft_bend[i + 4]);
            re[i][j] = low.re;
            re[i + 4][j] = high.re;
            if (imaginary) {
                im[i][j] = low.im;
                im[i + 4][j] = high.im;
            }
        }
    }
    fft_write_rows(target, fft->points, first, real, re);
    if (imaginary) fft_write_rows(target, fft->points, first, imaginary, im);
}

ALWAYS_INLINE void fft_read(const Fft *fft, float *buffer, const void *source, FftReader *real,
                            FftReader *imaginary) {
    for (int64_t first = 0; first < fft->points / 8; first += FFT_ROWS)
        fft_read_part(fft, buffer, first, source, real, imaginary);
}
ALWAYS_INLINE void fft_write(const Fft *fft, const float *buffer, const void *target,
                             FftWriter *real, FftWriter *imaginary) {
    for (int64_t first = 0; first < fft->points / 8; first += FFT_ROWS)
        fft_write_part(fft, buffer, first, target, real, imaginary);
}

#endif
