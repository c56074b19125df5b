/* The optimiser: AdamW against the plain equations in double precision,
 * clipping, groups with rates of their own, gradients that are not finite. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>
#include <math.h>

#include "engine/optimizer.h"

enum { N = 37, M = 5 };

static Parameters *two_groups(Device *device) {
    Error error = {0};
    assert_int_equal(device_open(device, "cpu", &error), STATUS_OK);
    Parameters *parameters = parameters_open();
    parameters_declare(parameters, "a", SHAPE(N), init_normal(1), GROUP_DECAY);
    parameters_declare(parameters, "b", SHAPE(M), init_normal(1),
                       (Group){.fixed_rate = 1e-3, .no_decay = true});
    parameters_declare(parameters, "c", SHAPE(M), init_constant(3), (Group){.frozen = true});
    assert_int_equal(parameters_allocate(parameters, device, true, 1, &error), STATUS_OK);
    return parameters;
}

static double gradient_at(int step, int i) {
    return sin(0.7 * i + step) + 0.1;
}

static void test_follows_the_equations(void **state) {
    (void)state;
    Device device;
    Parameters *parameters = two_groups(&device);
    const Optimizer optimizer = {.rate = 1e-2,
                                 .factor = 0.5,
                                 .weight_decay = 0.1,
                                 .beta1 = 0.9,
                                 .beta2 = 0.95,
                                 .epsilon = 1e-8,
                                 .clip = 1};
    double p[2][N], m[2][N] = {{0}}, v[2][N] = {{0}};
    const int sizes[2] = {N, M};
    const double rates[2] = {1e-2, 0.5e-3}, decays[2] = {0.1, 0};
    for (int k = 0; k < 2; k++)
        for (int i = 0; i < sizes[k]; i++) p[k][i] = (double)parameters->list[k]->tensor.data[i];
    for (int step = 1; step <= 5; step++) {
        double square = 0;
        for (int k = 0; k < 2; k++)
            for (int i = 0; i < sizes[k]; i++) {
                parameters->list[k]->tensor.gradient[i] = (float)gradient_at(step, i + 100 * k);
                square += pow(gradient_at(step, i + 100 * k), 2);
            }
        double norm;
        optimizer_step(&optimizer, parameters, step, 2, &norm);
        assert_true(fabs(norm / sqrt(square) - 1) < 1e-5);
        for (int k = 0; k < 2; k++)
            for (int i = 0; i < sizes[k]; i++) {
                const double g = gradient_at(step, i + 100 * k) / fmax(1, sqrt(square));
                m[k][i] = 0.9 * m[k][i] + 0.1 * g;
                v[k][i] = 0.95 * v[k][i] + 0.05 * g * g;
                p[k][i] -= rates[k] * decays[k] * p[k][i];
                p[k][i] -= rates[k] * m[k][i] / (1 - pow(0.9, step)) /
                           (sqrt(v[k][i] / (1 - pow(0.95, step))) + 1e-8);
                /* float32 values near 1, five updates: a few roundings of 6e-8 each. */
                assert_true(fabs((double)parameters->list[k]->tensor.data[i] - p[k][i]) < 2e-6);
                assert_true(parameters->list[k]->tensor.gradient[i] == 0);
            }
        for (int i = 0; i < M; i++) assert_true(parameters->list[2]->tensor.data[i] == 3);
    }
    parameters_close(parameters);
    device_close(&device);
}

static void test_not_finite_changes_nothing(void **state) {
    (void)state;
    Device device;
    Parameters *parameters = two_groups(&device);
    const Optimizer optimizer = {
        .rate = 1, .factor = 1, .beta1 = 0.9, .beta2 = 0.95, .epsilon = 1e-8};
    const float before = parameters->values[3];
    parameters->list[0]->tensor.gradient[5] = NAN;
    double norm;
    optimizer_step(&optimizer, parameters, 1, 1, &norm);
    assert_true(isnan(norm));
    assert_true(parameters->values[3] == before);
    assert_true(parameters->gradients[5] == 0);
    parameters_close(parameters);
    device_close(&device);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_follows_the_equations),
        cmocka_unit_test(test_not_finite_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
