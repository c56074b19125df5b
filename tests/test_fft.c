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

#include "bench/check/reference.h"
#include "engine/fft.h"
#include "engine/random.h"

static FftFunction *const run_on[ISA_COUNT] = {fft_run_portable, fft_run_avx2, fft_run_avx512};
static const int lanes_on[ISA_COUNT] = {4, 8, 16};

/* A rounding of 6e-8 for each of up to 16 levels there and back, adding as their root, and five
 * standard deviations of room for the worst of some 10^6 values. */
static const double tolerance = 5 * 6e-8 * 6;

/* Real signals and what their products are modulo x^n + i, for which the spectra are taken at
 * exp(-i pi (2 k + 1/2) / n). */
typedef struct Signals {
    int64_t points;
    double complex *turn; /* exp(-i pi k / 2 n), k < 4 n */
    double *filter, *signal, *cotangent;
    double complex *product, *back; /* filter signal; conj filter cotangent */
    double complex *correlation;    /* conj signal cotangent */
} Signals;

/* Spectrum of x, or x from its spectrum. */
static void spectrum_of(const Signals *s, const double *x, double complex *to) {
    for (int64_t t = 0; t < s->points; t++) to[t] = x[t] * s->turn[t];
    fftw_plan plan = fftw_plan_dft_1d((int)s->points, to, to, FFTW_FORWARD, FFTW_ESTIMATE);
    fftw_execute(plan);
    fftw_destroy_plan(plan);
}
static void signal_of(const Signals *s, double complex *x) {
    fftw_plan plan = fftw_plan_dft_1d((int)s->points, x, x, FFTW_BACKWARD, FFTW_ESTIMATE);
    fftw_execute(plan);
    fftw_destroy_plan(plan);
    for (int64_t t = 0; t < s->points; t++) x[t] *= conj(s->turn[t]) / (double)s->points;
}

static double *normals(Random *random, int64_t count) {
    double *x = malloc((size_t)count * sizeof *x);
    for (int64_t i = 0; i < count; i++) x[i] = (float)random_normal(random);
    return x;
}

static Signals signals_open(int64_t points) {
    Signals s = {.points = points};
    const size_t n = (size_t)points;
    s.turn = malloc(4 * n * sizeof *s.turn);
    for (int64_t k = 0; k < 4 * points; k++)
        s.turn[k] = cexp(-M_PI * I * (double)k / (2 * (double)points));
    Random random = random_open(3, random_stream("test/fft"), (uint64_t)points);
    s.filter = normals(&random, points);
    s.signal = normals(&random, points);
    s.cotangent = normals(&random, points);
    s.product = fftw_alloc_complex(n);
    s.back = fftw_alloc_complex(n);
    s.correlation = fftw_alloc_complex(n);
    double complex *filter = fftw_alloc_complex(n);
    spectrum_of(&s, s.filter, filter);
    spectrum_of(&s, s.signal, s.product);
    spectrum_of(&s, s.cotangent, s.back);
    for (int64_t k = 0; k < points; k++) {
        s.correlation[k] = conj(s.product[k]) * s.back[k];
        s.product[k] *= filter[k];
        s.back[k] *= conj(filter[k]);
    }
    fftw_free(filter);
    signal_of(&s, s.product);
    signal_of(&s, s.back);
    signal_of(&s, s.correlation);
    return s;
}

static void signals_close(Signals *s) {
    free(s->turn);
    free(s->filter);
    free(s->signal);
    free(s->cotangent);
    fftw_free(s->product);
    fftw_free(s->back);
    fftw_free(s->correlation);
}

/* Place of row j of child q of the whole transform. */
static int64_t place_of(const Fft *fft, int64_t q, int64_t j) {
    const int64_t run = j / fft->run * fft->run;
    return q * fft->level[0].stride + fft_run_place(fft, 0, run) + j - run;
}

/* Level 0, which fft_run leaves to its caller, in plain loops. Child q holds the frequencies
 * f + 8 k, f being q with its bits reversed. Lane l carries 1 + l times the signal. */
static void first_pass(const Fft *fft, const Signals *s, const double *x, int lanes,
                       float *buffer) {
    const int64_t n = fft->points, rows = n / 8;
    for (int64_t j = 0; j < rows; j++)
        for (int q = 0; q < 8; q++) {
            double complex sum = 0;
            for (int64_t t = j; t < n; t += rows)
                sum += x[t] * s->turn[t * (4 * fft_child_frequency(q) + 1) % (4 * n)];
            float *to = buffer + place_of(fft, q, j) * 2 * lanes;
            for (int lane = 0; lane < lanes; lane++) {
                to[lane] = (float)(creal(sum) * (1 + lane));
                to[lanes + lane] = (float)(cimag(sum) * (1 + lane));
            }
        }
}
/* And its inverse; the largest difference from `expected` is returned. `power`: of the lanes'
 * factors in the result. */
static double last_pass(const Fft *fft, const Signals *s, const float *buffer, int lanes, int power,
                        const double complex *expected) {
    const int64_t n = fft->points, rows = n / 8;
    double worst = 0;
    for (int64_t t = 0; t < n; t++)
        for (int lane = 0; lane < lanes; lane++) {
            double complex sum = 0;
            for (int q = 0; q < 8; q++) {
                const float *from = buffer + place_of(fft, q, t % rows) * 2 * lanes + lane;
                sum += ((double)from[0] + I * (double)from[lanes]) *
                       conj(s->turn[t * (4 * fft_child_frequency(q) + 1) % (4 * n)]);
            }
            const double error = cabs(sum / pow(1 + lane, power) - expected[t]);
            worst = worse(worst, error);
        }
    return worst;
}

static void expect_small(double error, const Fft *fft, Isa isa, const char *what) {
    const double scale = sqrt((double)fft->points); /* of every result's values */
    if (!(error <= tolerance * scale))
        fail_msg("%lld points, %s: %s off by %.2e of the root mean square", (long long)fft->points,
                 isa_name(isa), what, error / scale);
}

/* Two rows of a batch meet one filter, so that every combination of first and last is met. */
static void products_agree_with_fftw(int64_t points, Isa isa) {
    const int lanes = lanes_on[isa];
    Fft fft = fft_layout(points);
    float *table = malloc((size_t)fft_factor_floats(&fft) * sizeof *table), *buffer[4];
    for (int i = 0; i < 4; i++)
        buffer[i] = aligned_alloc(64, (fft_buffer_bytes(&fft) + 63) / 64 * 64);
    fft_factors(&fft, table);
    Signals s = signals_open(points);
    FftBuffers buffers = {.filter = buffer[0],
                          .signal = buffer[1],
                          .cotangent = buffer[2],
                          .gradient = buffer[3],
                          .first = true};

    first_pass(&fft, &s, s.filter, lanes, buffers.filter);
    first_pass(&fft, &s, s.signal, lanes, buffers.signal);
    run_on[isa](&fft, FFT_CONVOLVE, &buffers);
    expect_small(last_pass(&fft, &s, buffers.signal, lanes, 2, s.product), &fft, isa, "product");

    first_pass(&fft, &s, s.filter, lanes, buffers.filter);
    for (int row = 0; row < 2; row++) {
        buffers.first = row == 0;
        buffers.last = row == 1;
        first_pass(&fft, &s, s.signal, lanes, buffers.signal);
        first_pass(&fft, &s, s.cotangent, lanes, buffers.cotangent);
        run_on[isa](&fft, FFT_ADJOINT, &buffers);
        expect_small(last_pass(&fft, &s, buffers.cotangent, lanes, 2, s.back), &fft, isa,
                     "gradient of the signal");
    }
    for (int64_t k = 0; k < points; k++) s.correlation[k] *= 2;
    expect_small(last_pass(&fft, &s, buffers.gradient, lanes, 2, s.correlation) / 2, &fft, isa,
                 "gradient of the filter");

    signals_close(&s);
    free(table);
    for (int i = 0; i < 4; i++) free(buffer[i]);
}

static void every_length_on_every_instruction_set(void **state) {
    (void)state;
    for (int64_t points = FFT_LEAST; points <= 1 << 16; points *= 2)
        for (Isa isa = ISA_PORTABLE; isa <= isa_best(); isa++)
            products_agree_with_fftw(points, isa);
}

/* Plain transforms: the spectrum, and the signal back from it n times as large. */
static void plain_transforms_agree_with_fftw(int64_t points, Isa isa) {
    const int lanes = lanes_on[isa];
    const size_t n = (size_t)points;
    Fft fft = fft_layout(points);
    float *table = malloc((size_t)fft_factor_floats(&fft) * sizeof *table);
    float *buffer = aligned_alloc(64, (fft_buffer_bytes(&fft) + 63) / 64 * 64);
    fft_factors(&fft, table);
    Random random = random_open(5, random_stream("test/fft"), (uint64_t)points);
    double *re = normals(&random, points), *im = normals(&random, points);
    double complex *spectrum = fftw_alloc_complex(n);
    for (int64_t t = 0; t < points; t++) {
        spectrum[t] = re[t] + I * im[t];
        float *to = buffer + fft_signal_place(&fft, t) * 2 * lanes;
        for (int lane = 0; lane < lanes; lane++) {
            to[lane] = (float)(re[t] * (1 + lane));
            to[lanes + lane] = (float)(im[t] * (1 + lane));
        }
    }
    fftw_plan plan = fftw_plan_dft_1d((int)points, spectrum, spectrum, FFTW_FORWARD, FFTW_ESTIMATE);
    fftw_execute(plan);
    fftw_destroy_plan(plan);
    double worst = 0, worst_back = 0;
    run_on[isa](&fft, FFT_PLAIN_FORWARD, &(FftBuffers){.signal = buffer});
    for (int64_t k = 0; k < points; k++)
        for (int lane = 0; lane < lanes; lane++) {
            const float *at = buffer + fft_spectrum_place(&fft, k) * 2 * lanes + lane;
            const double complex value = (double)at[0] + I * (double)at[lanes];
            worst = worse(worst, cabs(value / (1 + lane) - spectrum[k]));
        }
    expect_small(worst, &fft, isa, "spectrum");
    run_on[isa](&fft, FFT_PLAIN_BACK, &(FftBuffers){.signal = buffer});
    for (int64_t t = 0; t < points; t++)
        for (int lane = 0; lane < lanes; lane++) {
            const float *at = buffer + fft_signal_place(&fft, t) * 2 * lanes + lane;
            const double complex value = (double)at[0] + I * (double)at[lanes];
            const double complex wide = value / ((1 + lane) * (double)points);
            worst_back = worse(worst_back, cabs(wide - re[t] - I * im[t]));
        }
    expect_small(worst_back, &fft, isa, "signal");
    fftw_free(spectrum);
    free(re);
    free(im);
    free(table);
    free(buffer);
}

static void plain_transforms_of_every_length(void **state) {
    (void)state;
    for (int64_t points = FFT_LEAST; points <= 1 << 14; points *= 2)
        for (Isa isa = ISA_PORTABLE; isa <= isa_best(); isa++)
            plain_transforms_agree_with_fftw(points, isa);
}

static void every_factor_is_rounded_once(void **state) {
    (void)state;
    Fft fft = fft_layout(1 << 21);
    float *table = malloc((size_t)fft_factor_floats(&fft) * sizeof *table);
    fft_factors(&fft, table);
    for (int i = 0; i < fft.levels; i++) {
        const FftLevel *level = &fft.level[i];
        const float *w = table + level->offset;
        for (int64_t j = 0; j < level->points / 8; j++)
            for (int q = i == 0 ? 0 : 1; q < 8; q++, w += 2) {
                const double f = fft_child_frequency(q) + (i == 0 ? 0.25 : 0);
                const double angle = -2 * M_PI * f * (double)j / (double)level->points;
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
        for (int64_t q = 0; q < 8; q++)
            for (int64_t j = 0; j < points / 8; j++) {
                const int64_t place = place_of(&fft, q, j);
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
        cmocka_unit_test(plain_transforms_of_every_length),
        cmocka_unit_test(every_factor_is_rounded_once),
        cmocka_unit_test(places_are_distinct),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
