/* The transforms of long convolutions against FFTW in double precision, on every instruction set of
 * this machine. */
#include <complex.h>
#include <fftw3.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/fft.h"
#include "engine/random.h"

static FftFunction *const run_on[ISA_COUNT] = {fft_run_portable, fft_run_avx2, fft_run_avx512};
static const int lanes_on[ISA_COUNT] = {4, 8, 16};

/* A rounding of 6e-8 for each of up to 16 levels, adding as their root, and five standard
 * deviations of room for the worst of some 10^6 values. */
static const double tolerance = 5 * 6e-8 * 4;

typedef struct Signals {
    int64_t points;
    double complex *root;  /* exp(-2 pi i k / n) */
    double complex *mixed; /* h1 + i h2 */
    double complex *first, *second;
} Signals;

static Signals signals_open(int64_t points) {
    Signals s = {.points = points};
    const size_t n = (size_t)points;
    s.root = malloc(n * sizeof *s.root);
    s.mixed = malloc(n * sizeof *s.mixed);
    s.first = fftw_alloc_complex(n);
    s.second = fftw_alloc_complex(n);
    Random random = random_open(3, random_stream("test/fft"), (uint64_t)points);
    for (int64_t k = 0; k < points; k++) {
        s.root[k] = cexp(-2 * M_PI * I * (double)k / (double)points);
        s.first[k] = random_normal(&random);
        s.second[k] = random_normal(&random);
        s.mixed[k] = s.first[k] + I * s.second[k];
    }
    for (int i = 0; i < 2; i++) {
        double complex *data = i ? s.second : s.first;
        fftw_plan plan = fftw_plan_dft_1d((int)points, data, data, FFTW_FORWARD, FFTW_ESTIMATE);
        fftw_execute(plan);
        fftw_destroy_plan(plan);
    }
    return s;
}

static void signals_close(Signals *s) {
    free(s->root);
    free(s->mixed);
    fftw_free(s->first);
    fftw_free(s->second);
}

/* Level 0, which fft_run leaves to its caller, in plain loops. Child q holds the frequencies
 * f + 8 k, f being q with its bits reversed. All lanes carry the same signal, scaled. */
static void first_pass(const Fft *fft, const Signals *s, int lanes, float *buffer) {
    const int64_t n = fft->points, rows = n / 8;
    for (int64_t j = 0; j < rows; j++)
        for (int64_t q = 0; q < 8; q++) {
            const int64_t f = (q & 1) << 2 | (q & 2) | q >> 2;
            double complex sum = 0;
            for (int64_t i = 0; i < 8; i++)
                sum += s->mixed[j + i * rows] * s->root[(j + i * rows) * f % n];
            const int64_t run = j / fft->run * fft->run;
            float *to = buffer + (q * fft->level[0].stride + fft_run_place(fft, 0, run) + j - run) *
                                     2 * lanes;
            for (int lane = 0; lane < lanes; lane++) {
                to[lane] = (float)(creal(sum) * (1 + lane));
                to[lanes + lane] = (float)(cimag(sum) * (1 + lane));
            }
        }
}

static double complex at(const float *buffer, int64_t place, int lanes, int lane) {
    const float *from = buffer + place * 2 * lanes + lane;
    return (double)from[0] + I * (double)from[lanes];
}

/* FFT_FILTER leaves (H1 + H2) / 2 n at the lower place of each pair of conjugate frequencies, which
 * stands for the frequency of that place, and (H1 - H2) / 2 n at the other. */
static void spectra_agree_with_fftw(int64_t points, Isa isa) {
    const int lanes = lanes_on[isa];
    Fft fft = fft_layout(points);
    float *table = malloc((size_t)fft_factor_floats(&fft) * sizeof *table);
    float *buffer = aligned_alloc(64, (fft_buffer_bytes(&fft) + 63) / 64 * 64);
    fft_factors(&fft, table);
    Signals s = signals_open(points);
    first_pass(&fft, &s, lanes, buffer);
    run_on[isa](&fft, FFT_FILTER, &(FftBuffers){.filter = buffer});
    const double scale = sqrt((double)points);
    double worst = 0;
    for (int64_t k = 1; k < points / 2; k++) {
        const int64_t here = fft_place(&fft, k), there = fft_place(&fft, points - k);
        const int64_t low = here < there ? here : there, high = here < there ? there : here;
        const int64_t frequency = here < there ? k : points - k;
        for (int lane = 0; lane < lanes; lane++) {
            const double complex p = at(buffer, low, lanes, lane) * (double)points / (1 + lane);
            const double complex q = at(buffer, high, lanes, lane) * (double)points / (1 + lane);
            const double error =
                cabs(p + q - s.first[frequency]) + cabs(p - q - s.second[frequency]);
            if (!(error <= worst)) worst = error;
        }
    }
    for (int i = 0; i < 2; i++) { /* frequencies 0 and n / 2: H1 and H2 are real */
        const double complex h =
            at(buffer, fft_place(&fft, i * points / 2), lanes, 0) * (double)points;
        const double error = cabs(h - (s.first[i * points / 2] + I * s.second[i * points / 2]));
        if (!(error <= worst)) worst = error;
    }
    if (!(worst <= tolerance * scale))
        fail_msg("%lld points, %s: off by %.2e of the root mean square", (long long)points,
                 isa_name(isa), worst / scale);
    signals_close(&s);
    free(table);
    free(buffer);
}

static void every_length_on_every_instruction_set(void **state) {
    (void)state;
    for (int64_t points = FFT_LEAST; points <= 1 << 16; points *= 2)
        for (Isa isa = ISA_PORTABLE; isa <= isa_best(); isa++) spectra_agree_with_fftw(points, isa);
}

static void every_factor_is_rounded_once(void **state) {
    (void)state;
    Fft fft = fft_layout(1 << 21);
    float *table = malloc((size_t)fft_factor_floats(&fft) * sizeof *table);
    fft_factors(&fft, table);
    for (int i = 0; i < fft.levels; i++) {
        const FftLevel *level = &fft.level[i];
        const float *w = table + level->offset;
        for (int64_t j = 0; j < level->points / level->radix; j++)
            for (int q = 1; q < level->radix; q++, w += 2) {
                const int f =
                    level->radix == 8 ? (q & 1) << 2 | (q & 2) | q >> 2 : (q & 1) << 1 | q >> 1;
                const double angle = -2 * M_PI * (double)(f * j) / (double)level->points;
                /* half a unit in the last place of numbers below 1, and a little for the product */
                assert_true(fabs(cos(angle) - (double)w[0]) < 3.1e-8);
                assert_true(fabs(sin(angle) - (double)w[1]) < 3.1e-8);
            }
    }
    free(table);
}

static void places_are_distinct(void **state) {
    (void)state;
    for (int64_t points = FFT_LEAST; points <= 1 << 21; points *= 2) {
        const Fft fft = fft_layout(points);
        char *taken = calloc((size_t)fft.places, 1);
        for (int64_t k = 0; k < points; k++) {
            const int64_t place = fft_place(&fft, k);
            assert_in_range(place, 0, fft.places - 1);
            assert_false(taken[place]);
            taken[place] = 1;
        }
        free(taken);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_length_on_every_instruction_set),
        cmocka_unit_test(every_factor_is_rounded_once),
        cmocka_unit_test(places_are_distinct),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
