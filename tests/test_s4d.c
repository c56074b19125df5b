/* Kernels of diagonal state spaces and the two-sided convolution: values worked out by hand in
 * double precision for two modes, lambda = -1/2 - i and -1/2 - 3 i, dt = 0.1, B = 1. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "engine/device.h"
#include "engine/ops/long_convolution/long_convolution.h"
#include "engine/ops/vandermonde/vandermonde.h"

enum { L = 8 };

/* A tape of kernels and convolutions of one channel, run once. */
typedef struct Bench {
    Device device;
    Parameters *parameters;
    Tape *tape;
    Tensor *in[8];
    const float *values[8];
    int count;
} Bench;

static Bench bench_open(void) {
    Bench bench = {.parameters = parameters_open()};
    Error error = {0};
    assert_int_equal(device_open(&bench.device, "cpu", &error), STATUS_OK);
    bench.tape = tape_open(bench.parameters, TAPE_EVALUATE);
    return bench;
}

static Tensor *bench_input(Bench *bench, Shape shape, const float *values) {
    bench->values[bench->count] = values;
    return bench->in[bench->count++] = tape_input(bench->tape, "in", TENSOR_FLOAT, shape, false);
}

static void bench_expect(Bench *bench, Tensor *out, const double expected[L]) {
    Error error = {0};
    tape_keep(bench->tape, out);
    assert_int_equal(tape_plan(bench->tape, 1, &error), STATUS_OK);
    assert_int_equal(tape_allocate(bench->tape, &bench->device, &error), STATUS_OK);
    for (int i = 0; i < bench->count; i++)
        memcpy(bench->in[i]->data, bench->values[i],
               (size_t)tensor_size(bench->in[i]) * sizeof(float));
    tape_forward(bench->tape, &(Run){.threads = 1});
    for (int l = 0; l < L; l++) /* values below 1 printed to 8 digits; sums of 8 floats */
        assert_true(fabs((double)out->data[l] - expected[l]) < 1e-7);
    tape_close(bench->tape);
    parameters_close(bench->parameters);
    device_close(&bench->device);
}

static const float log_dt[] = {-2.302585093f}, A_real[] = {-0.6931471806f, -0.6931471806f},
                   A_imag[] = {-1, -3}, C[] = {0.5f, 0.25f, -0.3f, 0.4f};

static const double zoh[L] = {0.05365643, 0.08073174, 0.10562116, 0.12618985,
                              0.14081319, 0.14847964, 0.14883012, 0.14213636};

static Tensor *kernel(Bench *bench, Discretisation discretisation) {
    const DiagonalParameters modes = {.log_dt = bench_input(bench, SHAPE(1), log_dt),
                                      .A_real = bench_input(bench, SHAPE(1, 2), A_real),
                                      .A_imag = bench_input(bench, SHAPE(1, 2), A_imag),
                                      .C = bench_input(bench, SHAPE(1, 2, 2), C)};
    return vandermonde(bench->tape, modes, (DiagonalForm){.discretisation = discretisation}, L);
}

static void kernel_by_zero_order_hold(void **state) {
    (void)state;
    Bench bench = bench_open();
    bench_expect(&bench, kernel(&bench, DISCRETISATION_ZOH), zoh);
}

static void kernel_by_the_bilinear_rule(void **state) {
    (void)state;
    static const double expected[L] = {0.05357630, 0.08026445, 0.10487396, 0.12531450,
                                       0.13998028, 0.14785273, 0.14854270, 0.14227435};
    Bench bench = bench_open();
    bench_expect(&bench, kernel(&bench, DISCRETISATION_BILINEAR), expected);
}

/* u_t = sin(0.7 t + 0.3) */
static void fill_u(float u[L]) {
    for (int t = 0; t < L; t++) u[t] = (float)sin(0.7 * t + 0.3);
}

static void convolution_with_the_kernel(void **state) {
    (void)state;
    static const double expected[L] = {0.01585656, 0.06900819, 0.15235580, 0.24247056,
                                       0.30930141, 0.32937695, 0.29634437, 0.22389775};
    float u[L];
    fill_u(u);
    Bench bench = bench_open();
    Tensor *h = kernel(&bench, DISCRETISATION_ZOH);
    Tensor *x = bench_input(&bench, SHAPE(1, L, 1), u);
    bench_expect(&bench, long_convolution(bench.tape, x, h, NULL, (ConvolutionGates){0}), expected);
}

/* The reverse filter is half of the forward one and begins at the next token. */
static void convolution_on_both_sides(void **state) {
    (void)state;
    static const float ahead[L] = {0.09824681f, 0.09478865f, 0.09014385f, 0.08404273f,
                                   0.07645005f, 0.06753003f, 0.05760018f, 0.04707948f};
    static const double expected[L] = {0.06772265, 0.10037793, 0.13655604, 0.15291129,
                                       0.13461102, 0.08245599, 0.01274070, -0.05012788};
    float u[L], back[L];
    fill_u(u);
    for (int l = 0; l < L; l++) back[l] = ahead[l] / 2;
    Bench bench = bench_open();
    Tensor *x = bench_input(&bench, SHAPE(1, L, 1), u);
    Tensor *h = bench_input(&bench, SHAPE(L, 1), ahead),
           *r = bench_input(&bench, SHAPE(L, 1), back);
    bench_expect(&bench, long_convolution(bench.tape, x, h, r, (ConvolutionGates){0}), expected);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kernel_by_zero_order_hold),
        cmocka_unit_test(kernel_by_the_bilinear_rule),
        cmocka_unit_test(convolution_with_the_kernel),
        cmocka_unit_test(convolution_on_both_sides),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
