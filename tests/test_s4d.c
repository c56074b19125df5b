/* Kernels of diagonal state spaces and the two-sided convolution: values worked out by hand in
 * double precision for two modes, lambda = -1/2 - i and -1/2 - 3 i, dt = 0.1, B = 1; how S4D-LegS
 * starts. */
/* cmocka wants step_form.h's first four before it */
#include <stdio.h>
#include <stdlib.h>

#include "engine/ops/long_convolution/long_convolution.h"
#include "engine/ops/vandermonde/vandermonde.h"
#include "tests/bench.h"
#include "tests/step_form.h"

enum { L = 8 };

static const double log_dt[] = {-2.302585093}, A_real[] = {-0.6931471806, -0.6931471806},
                    A_imag[] = {-1, -3}, C[] = {0.5, 0.25, -0.3, 0.4};

static const double zoh[L] = {0.05365643, 0.08073174, 0.10562116, 0.12618985,
                              0.14081319, 0.14847964, 0.14883012, 0.14213636};

static Tensor *kernel(Bench *bench, Discretisation discretisation) {
    const DiagonalParameters modes = {.log_dt = constant(bench, SHAPE(1), log_dt),
                                      .A_real = constant(bench, SHAPE(1, 2), A_real),
                                      .A_imag = constant(bench, SHAPE(1, 2), A_imag),
                                      .C = constant(bench, SHAPE(1, 2, 2), C)};
    return vandermonde(bench->tape, modes, (DiagonalForm){.discretisation = discretisation}, L);
}

static void kernel_by_zero_order_hold(void **state) {
    (void)state;
    Bench bench;
    bench_open(&bench, TAPE_EVALUATE);
    bench_expect(&bench, kernel(&bench, DISCRETISATION_ZOH), zoh);
}

static void kernel_by_the_bilinear_rule(void **state) {
    (void)state;
    static const double expected[L] = {0.05357630, 0.08026445, 0.10487396, 0.12531450,
                                       0.13998028, 0.14785273, 0.14854270, 0.14227435};
    Bench bench;
    bench_open(&bench, TAPE_EVALUATE);
    bench_expect(&bench, kernel(&bench, DISCRETISATION_BILINEAR), expected);
}

/* u_t = sin(0.7 t + 0.3) */
static void fill_u(double u[L]) {
    for (int t = 0; t < L; t++) u[t] = sin(0.7 * t + 0.3);
}

static void convolution_with_the_kernel(void **state) {
    (void)state;
    static const double expected[L] = {0.01585656, 0.06900819, 0.15235580, 0.24247056,
                                       0.30930141, 0.32937695, 0.29634437, 0.22389775};
    double u[L];
    fill_u(u);
    Bench bench;
    bench_open(&bench, TAPE_EVALUATE);
    Tensor *h = kernel(&bench, DISCRETISATION_ZOH);
    Tensor *x = constant(&bench, SHAPE(1, L, 1), u);
    bench_expect(&bench, long_convolution(bench.tape, x, h, NULL, (ConvolutionGates){0}), expected);
}

/* The reverse filter is half of the forward one and begins at the next token. */
static void convolution_on_both_sides(void **state) {
    (void)state;
    static const double ahead[L] = {0.09824681, 0.09478865, 0.09014385, 0.08404273,
                                    0.07645005, 0.06753003, 0.05760018, 0.04707948};
    static const double expected[L] = {0.06772265, 0.10037793, 0.13655604, 0.15291129,
                                       0.13461102, 0.08245599, 0.01274070, -0.05012788};
    double u[L], back[L];
    fill_u(u);
    for (int l = 0; l < L; l++) back[l] = ahead[l] / 2;
    Bench bench;
    bench_open(&bench, TAPE_EVALUATE);
    Tensor *x = constant(&bench, SHAPE(1, L, 1), u);
    Tensor *h = constant(&bench, SHAPE(L, 1), ahead), *r = constant(&bench, SHAPE(L, 1), back);
    bench_expect(&bench, long_convolution(bench.tape, x, h, r, (ConvolutionGates){0}), expected);
}

/* Eight states: eigenvalues and V^H B of A + P P^T, HiPPO-LegS's A, B_i = sqrt(2 i + 1), P_i =
 * sqrt(i + 1/2), eigenvectors of length 1 turned so that V^H P is positive; NumPy 2.4, linalg.eig.
 */
static void legs_starts_from_hippo(void **state) {
    (void)state;
    enum { M = 4 };
    static const double imaginary[M] = {19.857410371, 5.354208515, 1.957794151, 0.427488712};
    static const double input[M] = {5.155625523, 1.843868911, 1.174959947, 0.799463588};
    Subject subject;
    open_model(&subject, "s4d", "width=3 layers=1 state=8 init=legs",
               (SubjectShape){1, 4, 4, TAPE_EVALUATE, true, false}, 0, NULL);
    const float *real = parameters_find(subject.parameters, "layers.0.mixer.A_real")->tensor.data;
    const float *A = parameters_find(subject.parameters, "layers.0.mixer.A_imag")->tensor.data;
    const float *B = parameters_find(subject.parameters, "layers.0.mixer.B")->tensor.data;
    for (int i = 0; i < 3 * M; i++) { /* rounding to float32 */
        near("A_real", exp((double)real[i]), 0.5, 1e-7);
        near("A_imag", (double)A[i], imaginary[i % M], 1e-6 * imaginary[0]);
        near("B", (double)B[2 * i], input[i % M], 1e-6 * input[0]);
        near("Im B", (double)B[2 * i + 1], 0, 1e-6);
    }
    subject_close(&subject);
}

static void legs_steps(void **state) {
    (void)state;
    step_form_agrees("s4d", "width=6 layers=2 state=8 init=legs", 12, 0.05, 2e-4f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kernel_by_zero_order_hold),
        cmocka_unit_test(kernel_by_the_bilinear_rule),
        cmocka_unit_test(convolution_with_the_kernel),
        cmocka_unit_test(convolution_on_both_sides),
        cmocka_unit_test(legs_starts_from_hippo),
        cmocka_unit_test(legs_steps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
