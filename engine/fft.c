#include "engine/fft.h"

#include <assert.h>
#include <math.h>
#include <string.h>

/* Child blocks a power of two of bytes apart would share the sets of the caches: 4 points (512
 * bytes at 16 lanes) between them spread the eight streams of a butterfly over the sets. */
enum { PADDING = 4, PADDED_FROM = 64 };

Fft fft_layout(int64_t points) {
    assert(points >= FFT_LEAST && (points & (points - 1)) == 0);
    Fft fft = {.points = points};
    int bits = 0;
    while ((int64_t)1 << bits < points) bits++;
    const int leaf_bits = bits % 3 == 0 ? 3 : bits % 3 == 1 ? 4 : 2;
    fft.leaf = 1 << leaf_bits;
    fft.levels = (bits - leaf_bits) / 3;
    assert(fft.levels <= FFT_MAX_LEVELS);
    int64_t offset = 0;
    for (int i = 0; i < fft.levels; i++) {
        fft.level[i] = (FftLevel){.points = points, .offset = offset};
        points /= 8;
        offset += points * (i == 0 ? 16 : 14);
    }
    fft.run = fft.places = fft.leaf;
    for (int i = fft.levels - 1; i >= 0; i--) {
        FftLevel *level = &fft.level[i];
        level->stride = fft.places + (fft.places >= PADDED_FROM ? PADDING : 0);
        fft.places = level->stride * 8;
        if (fft.places == level->points) fft.run = level->points;
    }
    return fft;
}

int64_t fft_factor_floats(const Fft *fft) {
    const FftLevel *last = &fft->level[fft->levels - 1];
    return last->offset + last->points / 8 * (fft->levels == 1 ? 16 : 14);
}

int64_t fft_signal_place(const Fft *fft, int64_t t) {
    const int64_t child = fft->points / 8;
    return t / child * fft->level[0].stride + fft_run_place(fft, 0, t % child);
}

int64_t fft_spectrum_place(const Fft *fft, int64_t k) {
    int64_t place = 0;
    for (int i = 0; i < fft->levels; i++, k /= 8)
        place += fft_child_frequency((int)(k % 8)) * fft->level[i].stride;
    for (int64_t bit = fft->leaf / 2; bit > 0; bit /= 2, k /= 2) place += k % 2 * bit;
    return place;
}

size_t fft_buffer_bytes(const Fft *fft) {
    return (size_t)fft->places * 2 * FFT_LANES * sizeof(float);
}

/* Turns of the eight children side by side. */
typedef double Eight __attribute__((vector_size(8 * sizeof(double))));
typedef struct Turns {
    Eight re, im;
} Turns;

static inline void turn(Turns *to, const Turns *a, const Turns *b) {
    *to = (Turns){a->re * b->re - a->im * b->im, a->re * b->im + a->im * b->re};
}

/* Row j holds exp(-2 pi i j (f + shift) / points) for the frequencies f of children `first` .. 7.
 * Products of a block's first row and a row within the block: no factor is the end of more than
 * 64 + n / 512 multiplications in double, whose rounding stays far below that of a float. */
static void fill(int64_t points, int first, double shift, float *table) {
    enum { BLOCK = 64, CHILDREN = 8 };
    const int64_t rows = points / 8;
    Turns step, leap, start, within[BLOCK];
    for (int q = 0; q < CHILDREN; q++) {
        const double angle = -2 * M_PI * (fft_child_frequency(q) + shift) / (double)points;
        step.re[q] = cos(angle);
        step.im[q] = sin(angle);
        leap.re[q] = cos(BLOCK * angle);
        leap.im[q] = sin(BLOCK * angle);
        start.re[q] = within[0].re[q] = 1;
        start.im[q] = within[0].im[q] = 0;
    }
    for (int j = 1; j < BLOCK && j < rows; j++) turn(&within[j], &within[j - 1], &step);
    for (int64_t row = 0; row < rows; row += BLOCK) {
        const int64_t count = rows - row < BLOCK ? rows - row : BLOCK;
        for (int64_t j = 0; j < count; j++) {
            Turns turns;
            turn(&turns, &start, &within[j]);
            float both[2 * CHILDREN];
            for (int q = 0; q < CHILDREN; q++) {
                both[2 * q] = (float)turns.re[q];
                both[2 * q + 1] = (float)turns.im[q];
            }
            memcpy(table, both + 2 * first, (size_t)(CHILDREN - first) * 2 * sizeof(float));
            table += 2 * (CHILDREN - first);
        }
        turn(&start, &start, &leap);
    }
}

/* Lower levels find their factors in level 1: a block of s points has w_s^(f j) = w_n^(f j n / s),
 * row j n / s there. */
void fft_factors(Fft *fft, float *table) {
    fft->factors = table;
    fill(fft->points, 0, 0.25, table);
    if (fft->levels == 1) return;
    const FftLevel *one = &fft->level[1];
    fill(one->points, 1, 0, table + one->offset);
    for (int i = 2; i < fft->levels; i++) {
        const FftLevel *level = &fft->level[i];
        const int64_t step = one->points / level->points;
        float *out = table + level->offset;
        for (int64_t j = 0; j < level->points / 8; j++)
            for (int k = 0; k < 14; k++) *out++ = table[one->offset + j * step * 14 + k];
    }
}
