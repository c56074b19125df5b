/* Level 0 of a transform (engine/fft.h), fused with reading a signal and writing one: what a kernel
 * file does before and after ISA(fft_run). */
#ifndef LONGHAUL_FFT_ENDS_SIMD_H
#define LONGHAUL_FFT_ENDS_SIMD_H

#include "engine/fft_simd.h"

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

/* The point in row first + j of stream i. */
ALWAYS_INLINE int64_t fft_point(const Fft *fft, int64_t first, int i, int j) {
    return i * fft->points / 8 + first + j;
}

/* Rows first .. first + FFT_ROWS - 1 of the first pass, from their points' real and imaginary parts
 * (NULL: real signals), and of the last one. */
ALWAYS_INLINE void fft_first_pass(const Fft *fft, float *buffer, int64_t first, FftRows re,
                                  FftRows im) {
    const float *w = fft->factors + 16 * first;
    const int64_t stride = fft->level[0].stride, place = fft_run_place(fft, 0, first);
    for (int j = 0; j < FFT_ROWS; j++, w += 16) {
        vcomplex x[8];
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) {
            const float *a = fft_bend[i], *b = fft_bend[i + 4];
            const vfloat low = re[i][j], high = re[i + 4][j];
            vcomplex y = {low * a[0], low * a[1]};
            if (im) y = c_turn((vcomplex){low, im[i][j]}, a);
            x[i] = (vcomplex){y.re + high * b[0], y.im + high * b[1]};
            x[i + 4] = (vcomplex){y.re - high * b[0], y.im - high * b[1]};
            if (im) {
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
ALWAYS_INLINE void fft_last_pass(const Fft *fft, const float *buffer, int64_t first, FftRows re,
                                 FftRows im) {
    const float *w = fft->factors + 16 * first;
    const int64_t stride = fft->level[0].stride, place = fft_run_place(fft, 0, first);
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
            if (im) {
                im[i][j] = low.im;
                im[i + 4][j] = high.im;
            }
        }
    }
}

#endif
