/* Fourier transforms of LANES channels side by side: point k of a buffer is a vector of real parts
 * followed by a vector of imaginary parts, so a butterfly is plain vector code and nothing is ever
 * shuffled. Forward is decimation in frequency and leaves the spectrum in bit-reversed order, the
 * inverse is decimation in time and starts from there, so nothing is reordered either (Gentleman
 * and Sande 1966, "Fast Fourier transforms: for fun and profit"). Transform, product and inverse
 * descend together into ever smaller blocks, which is what keeps long ones in cache.
 *
 * Two real signals are carried as one complex one, x1 + i x2, and two real filters likewise. In
 * bit-reversed order the conjugate frequencies of a block mirror another block (or the same one),
 * so the two are taken apart and put together during the product, while both blocks are in cache:
 *     Y[k] = P[k] Z[k] + Q[k] conj Z[-k],  P = (H1 + H2) / 2,  Q = (H1 - H2) / 2.
 *
 * Lengths: every power of two from FFT_LEAST up to 2^24. */
#ifndef LONGHAUL_FFT_H
#define LONGHAUL_FFT_H

#include <stddef.h>
#include <stdint.h>

#include "engine/op.h"

enum { FFT_MAX_LEVELS = 8, FFT_LEAST = 256, FFT_LANES = 16 /* of the widest instruction set */ };

/* One step of the decomposition: a block becomes `radix` child blocks. Below the last level are
 * blocks of four points. */
typedef struct FftLevel {
    int64_t points; /* of a block */
    int64_t stride; /* places from one child block to the next, padding included */
    int64_t offset; /* of this level's factors in the table, floats */
    int radix;      /* 8 or 4; level 0 has 8 */
} FftLevel;

typedef struct Fft {
    int64_t points; /* n */
    int64_t places; /* vector pairs in a buffer: points and the padding between blocks */
    int64_t run;    /* points that lie side by side without padding between them */
    int levels;
    FftLevel level[FFT_MAX_LEVELS];
    const float *factors; /* fft_factors' table */
} Fft;

/* The transform of `points` (a power of two, at least FFT_LEAST), without its table. */
Fft fft_layout(int64_t points);

/* The table of factors exp(-2 pi i j f / points of the level), computed in double precision; the
 * call costs about 1 % of one transform of 32 channels. Floats it needs, and filling it. */
int64_t fft_factor_floats(const Fft *fft);
void fft_factors(Fft *fft, float *table);

/* Bytes of one buffer, enough for every instruction set. */
size_t fft_buffer_bytes(const Fft *fft);

/* Place, counted from the start of a child block of `level`, of the child's point j: for the first
 * point of every run. */
static inline int64_t fft_run_place(const Fft *fft, int level, int64_t j) {
    int64_t place = 0;
    for (int i = level + 1; i < fft->levels && j >= fft->run; i++) {
        const int64_t child = fft->level[i].points / fft->level[i].radix;
        place += j / child * fft->level[i].stride;
        j %= child;
    }
    return place + j;
}

/* Place in a buffer of the child `child` of the whole transform's block, and of frequency k. */
int64_t fft_place(const Fft *fft, int64_t k);

/* What happens between the transforms. Level 0 of every forward and inverse transform is left to
 * the caller, who fuses it with reading and writing (fft_simd.h): buffers come in after the first
 * pass and go out before the last one. */
typedef enum FftTask {
    FFT_FILTER,   /* filter: transformed, stored as P and Q, scaled by 1 / n */
    FFT_CONVOLVE, /* signal: transformed, times filter, transformed back */
    FFT_ADJOINT,  /* signal and cotangent: transformed; their correlation is added to gradient;
                     cotangent times conj filter, transformed back */
    FFT_GRADIENT  /* gradient: from sums of correlations to h1 + i h2, transformed back */
} FftTask;

typedef struct FftBuffers {
    float *filter, *signal, *cotangent, *gradient; /* those that the task names */
    bool first; /* FFT_ADJOINT: overwrite gradient instead of adding to it */
} FftBuffers;

typedef void FftFunction(const Fft *fft, FftTask task, const FftBuffers *buffers);
extern FftFunction fft_run_portable, fft_run_avx2, fft_run_avx512;

#endif
