#include "engine/fft.h"

#include <assert.h>
#include <math.h>

/* Child blocks a power of two of bytes apart would share the sets of the caches: 4 points (512
 * bytes at 16 lanes) between them spread the eight streams of a butterfly over the sets. */
enum { PADDING = 4, PADDED_FROM = 64 };

Fft fft_layout(int64_t points) {
    assert(points >= FFT_LEAST && (points & (points - 1)) == 0);
    Fft fft = {.points = points};
    int bits = 0;
    while ((int64_t)1 << bits < points) bits++;
    const int rest = bits - 2; /* the blocks of four points at the bottom */
    const int fours = rest % 3 == 0 ? 0 : rest % 3 == 2 ? 1 : 2;
    fft.levels = (rest - 2 * fours) / 3 + fours;
    assert(fft.levels <= FFT_MAX_LEVELS);
    int64_t offset = 0;
    for (int i = 0; i < fft.levels; i++) {
        FftLevel *level = &fft.level[i];
        *level =
            (FftLevel){.points = points, .offset = offset, .radix = i < fft.levels - fours ? 8 : 4};
        points /= level->radix;
        offset += points * (level->radix - 1) * 2;
    }
    fft.run = fft.places = 4;
    for (int i = fft.levels - 1; i >= 0; i--) {
        FftLevel *level = &fft.level[i];
        level->stride = fft.places + (fft.places >= PADDED_FROM ? PADDING : 0);
        fft.places = level->stride * level->radix;
        if (fft.places == level->points) fft.run = level->points;
    }
    return fft;
}

int64_t fft_factor_floats(const Fft *fft) {
    const FftLevel *last = &fft->level[fft->levels - 1];
    return last->offset + last->points / last->radix * (last->radix - 1) * 2;
}

size_t fft_buffer_bytes(const Fft *fft) {
    return (size_t)fft->places * 2 * FFT_LANES * sizeof(float);
}

/* The frequency (modulo radix) that child q of a block holds: q with its bits reversed. */
static int frequency_of(int radix, int q) {
    return radix == 8 ? (q & 1) << 2 | (q & 2) | q >> 2 : (q & 1) << 1 | q >> 1;
}

int64_t fft_place(const Fft *fft, int64_t k) {
    int64_t place = 0;
    for (int i = 0; i < fft->levels; i++) {
        const FftLevel *level = &fft->level[i];
        place += frequency_of(level->radix, (int)(k % level->radix)) * level->stride;
        k /= level->radix;
    }
    return place + frequency_of(4, (int)k);
}

typedef struct Turn {
    double re, im;
} Turn;

static Turn turn_by(Turn a, Turn b) {
    return (Turn){a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
}

/* Row j of level 0 holds w^(f j), w = exp(-2 pi i / n), for the frequencies f of children 1 .. 7.
 * Products of a block's first row and a row within the block: no factor is the end of more than
 * 64 + n / 512 multiplications in double, whose rounding stays far below that of a float. */
static void first_factors(const Fft *fft, float *table) {
    enum { BLOCK = 64, CHILDREN = 7 };
    const int64_t rows = fft->points / 8;
    Turn step[CHILDREN], leap[CHILDREN], start[CHILDREN], within[BLOCK][CHILDREN];
    for (int q = 0; q < CHILDREN; q++) {
        const double angle = -2 * M_PI * frequency_of(8, q + 1) / (double)fft->points;
        step[q] = (Turn){cos(angle), sin(angle)};
        leap[q] = (Turn){cos(BLOCK * angle), sin(BLOCK * angle)};
        start[q] = within[0][q] = (Turn){1, 0};
        for (int j = 1; j < BLOCK; j++) within[j][q] = turn_by(within[j - 1][q], step[q]);
    }
    for (int64_t first = 0; first < rows; first += BLOCK) {
        const int64_t count = rows - first < BLOCK ? rows - first : BLOCK;
        for (int64_t j = 0; j < count; j++)
            for (int q = 0; q < CHILDREN; q++) {
                const Turn factor = turn_by(start[q], within[j][q]);
                *table++ = (float)factor.re;
                *table++ = (float)factor.im;
            }
        for (int q = 0; q < CHILDREN; q++) start[q] = turn_by(start[q], leap[q]);
    }
}

/* Lower levels find their factors in level 0: a block of s points has w_s^(f j) = w_n^(f j n / s),
 * row j n / s there. A radix-4 level takes twice the frequency at half the row: its children hold
 * frequencies 0, 2, 1, 3, and the first four of a radix-8 level just twice that. */
void fft_factors(Fft *fft, float *table) {
    first_factors(fft, table);
    for (int i = 1; i < fft->levels; i++) {
        const FftLevel *level = &fft->level[i];
        const int wide = level->radix == 8 ? 1 : 2;
        const int64_t step = fft->points / level->points / wide;
        float *out = table + level->offset;
        for (int64_t j = 0; j < level->points / level->radix; j++)
            for (int q = 1; q < level->radix; q++) {
                const float *in = table + (j * step * 7 + q - 1) * 2;
                *out++ = in[0];
                *out++ = in[1];
            }
    }
    fft->factors = table;
}
