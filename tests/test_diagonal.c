/* Diagonal state spaces beyond S4D (DSS, GSS, BiGS): their kernels against numbers from an
 * independent double-precision program, and what the layers promise. */
#include <math.h>
#include <stdio.h>

#include "bench/check/reference.h"
#include "engine/ops/vandermonde/vandermonde.h"
#include "tests/bench.h"
#include "tests/mixer_alone.h"
#include "tests/step_form.h"

enum { L = 8 };

static double wave(int64_t i) {
    return sin(0.7 * (double)i + 0.3);
}

/* W = (0.5 + 0.25 i, -0.3 + 0.4 i), halved as the kernel is a real part. */
static const double W[] = {0.25, 0.125, -0.15, 0.2},
                    log_dt[] = {-2.302585092994046, -2.302585092994046};

static Tensor *kernel(Bench *bench, const double *real, const double *imaginary, bool steps,
                      DiagonalForm form, int64_t length) {
    DiagonalParameters modes = {.A_real = constant(bench, SHAPE(1, 2), real),
                                .A_imag = constant(bench, SHAPE(1, 2), imaginary),
                                .C = constant(bench, SHAPE(1, 2, 2), W)};
    if (steps) modes.log_dt = constant(bench, SHAPE(1, 2), log_dt);
    Tensor *K = vandermonde(bench->tape, modes, form, length);
    tape_keep(bench->tape, K);
    return K;
}

static void expect_kernel(const double *real, const double *imaginary, bool steps,
                          DiagonalForm form, int64_t length, const double *expected) {
    Bench bench;
    bench_open(&bench, TAPE_EVALUATE);
    Tensor *K = kernel(&bench, real, imaginary, steps, form, length);
    bench_plan(&bench);
    bench_run(&bench);
    expect(K, expected, length);
    bench_close(&bench);
}

static const double imaginary[] = {1, 3};

static const double exponential[L] = {0.01289082,  0.00137316,  -0.00596868, -0.00927586,
                                      -0.00902535, -0.00595205, -0.00095633, 0.00499366};

static void kernel_of_exponentials(void **state) {
    (void)state;
    static const double real[] = {-0.5, -0.5},
                        logarithm[] = {-0.6931471805599453, -0.6931471805599453};
    expect_kernel(logarithm, imaginary, true, (DiagonalForm){.discretisation = DISCRETISATION_ZOH},
                  L, exponential);
    expect_kernel(real, imaginary, true,
                  (DiagonalForm){.discretisation = DISCRETISATION_ZOH, .real = REAL_CLIPPED}, L,
                  exponential);
}

/* GSS: a step of one, both parts exponentials. */
static void kernel_with_steps_of_one(void **state) {
    (void)state;
    static const double real[] = {-1, 0.2}, logarithm[] = {0.1, -0.5};
    static const double expected[] = {0.02646951,  -0.23546279, -0.23403910,
                                      -0.06253043, 0.06531453,  0.06930100};
    expect_kernel(real, logarithm, false,
                  (DiagonalForm){.discretisation = DISCRETISATION_ZOH, .imaginary = IMAGINARY_EXP},
                  6, expected);
}

static DiagonalForm softmax(int64_t period) {
    return (DiagonalForm){
        .discretisation = DISCRETISATION_SOFTMAX, .real = REAL_PLAIN, .period = period};
}

static void kernel_of_a_softmax(void **state) {
    (void)state;
    static const double real[] = {-0.5, -0.5}, growing[] = {0.5, -0.5};
    static const double expected[L] = {0.00340026, 0.01308861, 0.01950343, 0.02296533,
                                       0.02397572, 0.02315407, 0.02117153, 0.01868700};
    static const double grown[L] = {0.05554410, 0.06317775, 0.06831238, 0.07124057,
                                    0.07241692, 0.07239602, 0.07176707, 0.07109106};
    expect_kernel(real, imaginary, true, softmax(L), L, expected);
    expect_kernel(growing, imaginary, true, softmax(L), L, grown);
    /* a shorter sequence sees the beginning of the same kernel */
    expect_kernel(growing, imaginary, true, softmax(L), 5, grown);
}

/* With W = lambda what is left are the softmaxes, of which each sums to one. */
static void softmax_sums_to_one(void **state) {
    (void)state;
    enum { LENGTH = 16 };
    static const double real[] = {-0.5, 0.5}, weights[] = {-0.25, 0.5, 0.25, 1.5};
    Bench bench;
    bench_open(&bench, TAPE_EVALUATE);
    const DiagonalParameters modes = {.log_dt = constant(&bench, SHAPE(1, 2), log_dt),
                                      .A_real = constant(&bench, SHAPE(1, 2), real),
                                      .A_imag = constant(&bench, SHAPE(1, 2), imaginary),
                                      .C = constant(&bench, SHAPE(1, 2, 2), weights)};
    Tensor *K = vandermonde(bench.tape, modes, softmax(LENGTH), LENGTH);
    tape_keep(bench.tape, K);
    bench_plan(&bench);
    bench_run(&bench);
    double sum = 0;
    for (int l = 0; l < LENGTH; l++) sum += (double)K->data[l];
    assert_true(fabs(sum - 2) < 1e-6); /* two modes; 16 floats and the 1e-7 in r */
    bench_close(&bench);
}

/* Eigenvalues that grow or decay by e^5 a step, and one at zero. */
static void softmax_is_finite(void **state) {
    (void)state;
    static const double real[][2] = {{50, -50}, {0, 6}}, turns[] = {0, 40};
    for (int i = 0; i < 2; i++) {
        Bench bench;
        bench_open(&bench, TAPE_EVALUATE);
        Tensor *K = kernel(&bench, real[i], turns, true, softmax(1000), 1000);
        bench_plan(&bench);
        bench_run(&bench);
        for (int64_t l = 0; l < 1000; l++)
            if (!(fabsf(K->data[l]) < 1)) /* |W / lambda| times a softmax, and W times 0 */
                fail_msg("K[%d] is %g", (int)l, (double)K->data[l]);
        bench_close(&bench);
    }
}

/* Every parameter of a BiGS layer from waves that depend on its role, not on its direction; the
 * directions change places when `swapped`. */
static void fill_directions(const MixerAlone *own, bool swapped) {
    for (int p = 0; p < own->parameters->count; p++) {
        Tensor *tensor = &own->parameters->list[p]->tensor;
        const bool one = strstr(tensor->name, swapped ? "backward" : "forward") != NULL;
        const bool filter =
            !strncmp(tensor->name, "forward.", 8) || !strncmp(tensor->name, "backward.", 9);
        const int64_t role = filter ? 0 : tensor->name[0];
        const int64_t from = 100 * (int64_t)strlen(strrchr(tensor->name, '.')) + 7 * role + one;
        for (int64_t i = 0; i < tensor_size(tensor); i++)
            tensor->data[i] = (float)(0.5 * wave(from + i * i));
    }
}

static void directions_change_places(void **state) {
    (void)state;
    enum { D = 4 };
    static const MixerSetting settings[] = {{"state", "4"}, {"gate", "2"}, {0}};
    MixerAlone own;
    float y[L * D];
    mixer_open(&own, "bigs", settings, L, D, false);
    fill_directions(&own, false);
    for (int i = 0; i < L * D; i++) own.u->data[i] = (float)wave(i * i);
    mixer_run(&own);
    memcpy(y, own.y->data, sizeof y);
    float before = 0;
    fill_directions(&own, true);
    mixer_run(&own); /* without turning the input the two differ */
    for (int i = 0; i < L * D; i++) before = fmaxf(before, fabsf(own.y->data[i] - y[i]));
    assert_true(before > 1e-3f);
    for (int t = 0; t < L; t++)
        for (int d = 0; d < D; d++)
            own.u->data[t * D + d] = (float)wave(((L - 1 - t) * D + d) * ((L - 1 - t) * D + d));
    mixer_run(&own);
    for (int t = 0; t < L; t++)
        for (int d = 0; d < D; d++) /* the same operations on the same numbers */
            assert_true(own.y->data[t * D + d] == y[(L - 1 - t) * D + d]);
    mixer_close(&own);
}

/* Filters of one tap: a gated MLP of each token, so that tokens may come in any order. */
static void filters_without_memory(void **state) {
    (void)state;
    enum { D = 4 };
    static const MixerSetting settings[] = {{"state", "4"}, {"gate", "2"}, {0}};
    MixerAlone own;
    float y[L * D];
    double last = 0;
    mixer_open(&own, "bigs", settings, L, D, false);
    for (int round = 0; round < 3; round++) {
        fill_directions(&own, false);
        static const char *const directions[] = {"forward.A_real", "backward.A_real"};
        if (round < 2) /* e^-50 a token or less, as steps start above e^-1/2 */
            for (int i = 0; i < 2; i++) mixer_fill(&own, directions[i], -100);
        for (int t = 0; t < L; t++)
            for (int d = 0; d < D; d++) {
                const int i = (round ? (3 * t) % L : t) * D + d;
                own.u->data[t * D + d] = (float)wave(i * i);
            }
        mixer_run(&own);
        if (round == 0) memcpy(y, own.y->data, sizeof y);
        last = 0;
        for (int t = 0; t < L; t++)
            for (int d = 0; d < D; d++)
                last = worse(last, (double)fabsf(own.y->data[t * D + d] -
                                                 y[(round ? (3 * t) % L : t) * D + d]));
        if (round == 1) assert_true(last < 1e-5); /* products of floats near 1 */
    }
    assert_true(last > 1e-3); /* with memory the order counts */
    mixer_close(&own);
}

static void expect_start(const char *model, const char *settings, const char *name,
                         const double *expected, int64_t count) {
    Subject subject;
    Error error = {0};
    const SubjectShape shape = {1, L, L, TAPE_EVALUATE, true, false};
    if (subject_open(&subject, model_find(model), settings, &shape, NULL, &error))
        fail_msg("%s", error.message);
    const Parameter *found = parameters_find(subject.parameters, name);
    assert_non_null(found);
    assert_int_equal(tensor_size(&found->tensor), count);
    for (int64_t i = 0; i < count; i++) /* float32 of numbers up to 20 */
        if (fabs((double)found->tensor.data[i] - expected[i]) > 2e-6)
            fail_msg("%s %s[%d] is %.7f", model, name, (int)i, (double)found->tensor.data[i]);
    subject_close(&subject);
}

/* The frequencies of HiPPO-LegS's normal part of size 8. */
static void eigenvalues_start_from_hippo(void **state) {
    (void)state;
    static const double w[] = {19.85741037, 5.35420852, 1.95779415, 0.42748871};
    double both[8], twice[8];
    for (int i = 0; i < 4; i++) {
        both[i] = twice[i] = twice[4 + i] = -w[i];
        both[7 - i] = w[i];
    }
    expect_start("dss", "state=4", "layers.0.mixer.A_imag", w, 4);
    expect_start("bigs", "state=8", "layers.0.mixer.forward.A_imag", both, 8);
    expect_start("s5", "state=16 blocks=2", "layers.0.mixer.A_imag", twice, 8);
}

static void step_forms(void **state) {
    (void)state;
    step_form_agrees("dss", "width=5 state=3 init=normal kernel=exp separate_dt=no glu=yes", 12,
                     0.05, 2e-4f);
    step_form_agrees("gss", "width=6 state=5 bottleneck=2 inner_norm=yes exponential=no", 12, 0.05,
                     2e-4f);
    step_form_agrees("bigs", "width=5 state=4 init=lin", 12, 0.05, 2e-4f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kernel_of_exponentials),       cmocka_unit_test(kernel_with_steps_of_one),
        cmocka_unit_test(kernel_of_a_softmax),          cmocka_unit_test(softmax_is_finite),
        cmocka_unit_test(directions_change_places),     cmocka_unit_test(filters_without_memory),
        cmocka_unit_test(softmax_sums_to_one),          cmocka_unit_test(step_forms),
        cmocka_unit_test(eigenvalues_start_from_hippo),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
