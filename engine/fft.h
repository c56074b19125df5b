/* Fourier transforms of LANES real signals side by side: point k of a buffer is a vector of real
 * parts followed by a vector of imaginary parts, so a butterfly is plain vector code and nothing is
 * ever shuffled. Forward is decimation in frequency and leaves the spectrum in bit-reversed order,
 * the inverse is decimation in time and starts from there, so nothing is reordered either
 * (Gentleman and Sande 1966, "Fast Fourier transforms: for fun and profit"). Transform, product and
 * inverse descend together into ever smaller blocks, which is what keeps long ones in cache.
 *
 * Signals are multiplied as polynomials modulo x^n + i: they are evaluated at
 * exp(-i pi / 2 n) exp(-2 pi i k / n), so x^n is -i and a product of 2 n coefficients comes back
 * as its first half minus i times its second. A linear convolution of real signals of n points thus
 * needs n complex points and no zeros, and is the real part (the right-angle convolution of
 * Crandall and Fagin 1994, "Discrete weighted transforms and large-integer arithmetic"). A tap of
 * x^-k is one of i x^(n - k).
 *
 * Lengths: every power of two from FFT_LEAST up to 2^24. */
#ifndef LONGHAUL_FFT_H
#define LONGHAUL_FFT_H

#include <stddef.h>
#include <stdint.h>

#include "engine/op.h"

enum { FFT_MAX_LEVELS = 8, FFT_LEAST = 128, FFT_LANES = 16 /* of the widest instruction set */ };

/* One step of the decomposition: a block becomes 8 child blocks. Below the last level are leaves.
 */
typedef struct FftLevel {
    int64_t points; /* of a block */
    int64_t stride; /* places from one child block to the next, padding included */
    int64_t offset; /* of this level's factors in the table, floats */
} FftLevel;

typedef struct Fft {
    int64_t points; /* n */
    int64_t places; /* vector pairs in a buffer: points and the padding between blocks */
    int64_t run;    /* points that lie side by side without padding between them */
    int leaf;       /* points of a leaf: 4, 8 or 16 */
    int levels;
    FftLevel level[FFT_MAX_LEVELS];
    const float *factors; /* fft_factors' table */
} Fft;

/* The transform of `points` (a power of two, at least FFT_LEAST), without its table. */
Fft fft_layout(int64_t points);

/* The table of factors, computed in double precision. Row j of level 0 has exp(-2 pi i j (f + 1/4)
 * / n) for the frequencies f of all 8 children; row j of a level of s points has exp(-2 pi i j f /
 * s) for children 1 .. 7. Floats it needs, and filling it. */
int64_t fft_factor_floats(const Fft *fft);
void fft_factors(Fft *fft, float *table);

/* The frequency (modulo 8) that child q of a block holds: q with its bits reversed. */
static inline int fft_child_frequency(int q) {
    return (q & 1) << 2 | (q & 2) | q >> 2;
}

/* Bytes of one buffer, enough for every instruction set. */
size_t fft_buffer_bytes(const Fft *fft);

/* Place, counted from the start of a child block of `level`, of the child's point j; level -1: of
 * the whole buffer. Runs begin at multiples of `run`. */
static inline int64_t fft_run_place(const Fft *fft, int level, int64_t j) {
    int64_t place = 0;
    for (int i = level + 1; i < fft->levels && j >= fft->run; i++) {
        const int64_t child = fft->level[i].points / 8;
        place += j / child * fft->level[i].stride;
        j %= child;
    }
    return place + j;
}

/* What happens between the transforms. Level 0 of every forward and inverse transform is left to
 * the caller, who fuses it with reading and writing (fft_simd.h): buffers come in after the first
 * pass and go out before the last one. */
typedef enum FftTask {
    FFT_CONVOLVE, /* signal: transformed, times filter, transformed back */
    FFT_ADJOINT,  /* signal and cotangent: transformed; their correlation is added to gradient;
                     cotangent times conj filter, transformed back */
    FFT_FORWARD,  /* signal: transformed, nothing else */
    FFT_BACK,     /* signal, a spectrum: transformed back, times n; nothing else */
    /* Whole transforms of signal, level 0 included, and plain ones: the values at exp(-2 pi i k /
     * n), and back from them, times n. */
    FFT_PLAIN_FORWARD,
    FFT_PLAIN_BACK
} FftTask;

/* Places of point t of a signal and of frequency k of its spectrum. */
int64_t fft_signal_place(const Fft *fft, int64_t t);
int64_t fft_spectrum_place(const Fft *fft, int64_t k);

/* Several signals may meet one filter. With `first` the filter is transformed on the way and stays
 * so, scaled by 1 / n, and gradient is overwritten instead of added to. With `last` gradient is
 * scaled likewise and transformed back. gradient may be signal if there is only one. */
typedef struct FftBuffers {
    float *filter, *signal, *cotangent, *gradient; /* the last two for FFT_ADJOINT */
    bool first, last;
} FftBuffers;

typedef void FftFunction(const Fft *fft, FftTask task, const FftBuffers *buffers);
extern FftFunction fft_run_portable, fft_run_avx2, fft_run_avx512;

#endif
