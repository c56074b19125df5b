/* The passes below level 0 of a transform and the work on the spectrum (see engine/fft.h).
 * A radix-8 pass moves 8 points (1 KiB at 16 lanes) through the registers for three levels: about
 * 84 vector operations to 32 loads and stores, so it is bound by the adders while its block is in
 * the second-level cache or nearer. */

#include "engine/fft_simd.h"

static void pass(const Fft *fft, int number, float *block) {
    const FftLevel *level = &fft->level[number];
    const float *w = fft->factors + level->offset;
    const int64_t stride = level->stride, rows = level->points / 8;
    for (int64_t first = 0; first < rows; first += fft->run) {
        const int64_t place = fft_run_place(fft, number, first);
        const int64_t run = rows < fft->run ? rows : fft->run;
        for (int64_t j = place; j < place + run; j++, w += 14) {
            vcomplex x[8];
            for (int q = 0; q < 8; q++) x[q] = c_load(block, j + q * stride);
            butterfly8(x);
            c_store(block, j, x[0]);
            for (int q = 1; q < 8; q++)
                c_store(block, j + q * stride, c_turn(x[q], w + 2 * (q - 1)));
        }
    }
}

static void pass_back(const Fft *fft, int number, float *block) {
    const FftLevel *level = &fft->level[number];
    const float *w = fft->factors + level->offset;
    const int64_t stride = level->stride, rows = level->points / 8;
    for (int64_t first = 0; first < rows; first += fft->run) {
        const int64_t place = fft_run_place(fft, number, first);
        const int64_t run = rows < fft->run ? rows : fft->run;
        for (int64_t j = place; j < place + run; j++, w += 14) {
            vcomplex x[8];
            x[0] = c_load(block, j);
            for (int q = 1; q < 8; q++)
                x[q] = c_turn_back(c_load(block, j + q * stride), w + 2 * (q - 1));
            butterfly8_back(x);
            for (int q = 0; q < 8; q++) c_store(block, j + q * stride, x[q]);
        }
    }
}

/* Level 0 of a plain transform. The table's factors of child 0 are the twist: divided out. */
static void pass_plain(const Fft *fft, float *block) {
    const float *w = fft->factors;
    const int64_t stride = fft->level[0].stride;
    for (int64_t j = 0; j < fft->points / 8; j++, w += 16) {
        const int64_t place = fft_run_place(fft, 0, j);
        vcomplex x[8];
        for (int q = 0; q < 8; q++) x[q] = c_load(block, place + q * stride);
        butterfly8(x);
        for (int q = 0; q < 8; q++)
            c_store(block, place + q * stride, c_turn_back(c_turn(x[q], w + 2 * q), w));
    }
}

static void pass_plain_back(const Fft *fft, float *block) {
    const float *w = fft->factors;
    const int64_t stride = fft->level[0].stride;
    for (int64_t j = 0; j < fft->points / 8; j++, w += 16) {
        const int64_t place = fft_run_place(fft, 0, j);
        vcomplex x[8];
        for (int q = 0; q < 8; q++)
            x[q] = c_turn(c_turn_back(c_load(block, place + q * stride), w + 2 * q), w);
        butterfly8_back(x);
        for (int q = 0; q < 8; q++) c_store(block, place + q * stride, x[q]);
    }
}

/* ---- the spectrum ---- */

typedef struct Descent {
    const Fft *fft;
    FftTask task;
    const FftBuffers *buffers;
} Descent;

/* A leaf of `points` points that begins at `buffer`. */
ALWAYS_INLINE void load_spectrum(const float *buffer, vcomplex x[16], int points) {
#pragma GCC unroll 16
    for (int i = 0; i < points; i++) x[i] = c_load(buffer, i);
    if (points == 4) butterfly4(x);
    if (points == 8) butterfly8(x);
    if (points == 16) butterfly16(x);
}
ALWAYS_INLINE void store_signal(float *buffer, vcomplex x[16], int points) {
    if (points == 4) butterfly4_back(x);
    if (points == 8) butterfly8_back(x);
    if (points == 16) butterfly16_back(x);
#pragma GCC unroll 16
    for (int i = 0; i < points; i++) c_store(buffer, i, x[i]);
}

ALWAYS_INLINE void filter_leaf(const Descent *d, int64_t at, int points) {
    const float scale = 1.0f / (float)d->fft->points;
    float *filter = d->buffers->filter + at;
    vcomplex x[16];
    load_spectrum(filter, x, points);
#pragma GCC unroll 16
    for (int i = 0; i < points; i++) c_store(filter, i, c_scale(x[i], v_set(scale)));
}

ALWAYS_INLINE void convolve_leaf(const Descent *d, int64_t at, int points) {
    const float *filter = d->buffers->filter + at;
    float *signal = d->buffers->signal + at;
    vcomplex x[16];
    load_spectrum(signal, x, points);
#pragma GCC unroll 16
    for (int i = 0; i < points; i++) x[i] = c_product(x[i], c_load(filter, i));
    store_signal(signal, x, points);
}

ALWAYS_INLINE void adjoint_leaf(const Descent *d, int64_t at, int points) {
    const float *filter = d->buffers->filter + at;
    float *gradient = d->buffers->gradient + at, *cotangent = d->buffers->cotangent + at;
    vcomplex x[16], g[16];
    load_spectrum(d->buffers->signal + at, x, points);
    load_spectrum(cotangent, g, points);
#pragma GCC unroll 16
    for (int i = 0; i < points; i++) {
        x[i] = c_product_back(g[i], x[i]);
        g[i] = c_product_back(g[i], c_load(filter, i));
    }
    store_signal(cotangent, g, points);
    if (!d->buffers->first)
#pragma GCC unroll 16
        for (int i = 0; i < points; i++) x[i] = c_add(x[i], c_load(gradient, i));
    if (d->buffers->last) {
#pragma GCC unroll 16
        for (int i = 0; i < points; i++) x[i] = c_scale(x[i], v_set(1.0f / (float)d->fft->points));
        store_signal(gradient, x, points);
    } else
#pragma GCC unroll 16
        for (int i = 0; i < points; i++) c_store(gradient, i, x[i]);
}

ALWAYS_INLINE void forward_leaf(const Descent *d, int64_t at, int points) {
    float *signal = d->buffers->signal + at;
    vcomplex x[16];
    load_spectrum(signal, x, points);
#pragma GCC unroll 16
    for (int i = 0; i < points; i++) c_store(signal, i, x[i]);
}
ALWAYS_INLINE void back_leaf(const Descent *d, int64_t at, int points) {
    float *signal = d->buffers->signal + at;
    vcomplex x[16];
#pragma GCC unroll 16
    for (int i = 0; i < points; i++) x[i] = c_load(signal, i);
    store_signal(signal, x, points);
}

/* The eight leaves of a block of the last level. */
ALWAYS_INLINE void leaves(const Descent *d, int64_t place, int points) {
    for (int64_t q = 0; q < 8; q++) {
        const int64_t at = (place + q * points) * 2 * LANES;
        if (d->buffers->first) filter_leaf(d, at, points);
        if (d->task == FFT_CONVOLVE)
            convolve_leaf(d, at, points);
        else if (d->task == FFT_ADJOINT)
            adjoint_leaf(d, at, points);
        else if (d->task == FFT_FORWARD)
            forward_leaf(d, at, points);
        else
            back_leaf(d, at, points);
    }
}
static void leaves_of_4(const Descent *d, int64_t place) {
    leaves(d, place, 4);
}
static void leaves_of_8(const Descent *d, int64_t place) {
    leaves(d, place, 8);
}
static void leaves_of_16(const Descent *d, int64_t place) {
    leaves(d, place, 16);
}

/* ---- the descent ---- */

static void pass_down(const Descent *d, int level, int64_t place) {
    const FftBuffers *buffers = d->buffers;
    const int64_t at = place * 2 * LANES;
    if (buffers->first) pass(d->fft, level, buffers->filter + at);
    if (d->task == FFT_ADJOINT) pass(d->fft, level, buffers->cotangent + at);
    if (d->task != FFT_BACK) pass(d->fft, level, buffers->signal + at);
}

static void pass_up(const Descent *d, int level, int64_t place) {
    const FftBuffers *buffers = d->buffers;
    const int64_t at = place * 2 * LANES;
    if (d->task == FFT_FORWARD) return;
    pass_back(d->fft, level, (d->task == FFT_ADJOINT ? buffers->cotangent : buffers->signal) + at);
    if (d->task == FFT_ADJOINT && buffers->last) pass_back(d->fft, level, buffers->gradient + at);
}

static void descend(const Descent *d, int level, int64_t place) {
    const Fft *fft = d->fft;
    if (level > 0) pass_down(d, level, place);
    if (level + 1 == fft->levels)
        (fft->leaf == 4 ? leaves_of_4 : fft->leaf == 8 ? leaves_of_8 : leaves_of_16)(d, place);
    else
        for (int64_t q = 0; q < 8; q++) descend(d, level + 1, place + q * fft->level[level].stride);
    if (level > 0) pass_up(d, level, place);
}

void ISA(fft_run)(const Fft *fft, FftTask task, const FftBuffers *buffers) {
    const FftTask inner = task == FFT_PLAIN_FORWARD ? FFT_FORWARD
                          : task == FFT_PLAIN_BACK  ? FFT_BACK
                                                    : task;
    if (task == FFT_PLAIN_FORWARD) pass_plain(fft, buffers->signal);
    descend(&(Descent){.fft = fft, .task = inner, .buffers = buffers}, 0, 0);
    if (task == FFT_PLAIN_BACK) pass_plain_back(fft, buffers->signal);
}
