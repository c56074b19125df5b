/* The optimiser's passes against double-precision arithmetic, on every instruction set. */
#include "engine/adamw.h"
#include "engine/random.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { N = 20011 }; /* more than two blocks, and a tail */

static void fill(float *data, int stream, double scale) {
    Random random = random_open(1, random_stream("test/adamw"), (uint64_t)stream);
    for (int i = 0; i < N; i++) data[i] = (float)(scale * random_normal(&random));
}

/* Three steps on the same gradients; the errors of three steps are some ten roundings. */
static void updates_match(void **state) {
    (void)state;
    static float p[N], g[N], m[N], v[N];
    static double dp[N], dg[N], dm[N], dv[N];
    for (Isa isa = ISA_PORTABLE; isa <= isa_best(); isa++) {
        fill(p, 0, 1);
        fill(g, 1, 0.3);
        for (int i = 0; i < N; i++) {
            m[i] = v[i] = 0;
            dp[i] = p[i];
            dg[i] = g[i];
            dm[i] = dv[i] = 0;
        }
        for (int step = 1; step <= 3; step++) {
            const AdamW settings = {.rate = 1e-2,
                                    .beta1 = 0.9,
                                    .beta2 = 0.95,
                                    .epsilon = 1e-8,
                                    .decay = 0.1,
                                    .gradient_scale = 0.5,
                                    .step = step,
                                    .zero_gradients = step == 3};
            adamw_update(isa, &settings, (AdamWRange){p, g, m, v, N}, 1);
            for (int i = 0; i < N; i++) {
                const double slope = 0.5 * dg[i];
                dm[i] = 0.9 * dm[i] + 0.1 * slope;
                dv[i] = 0.95 * dv[i] + 0.05 * slope * slope;
                const double mean = dm[i] / (1 - pow(0.9, step));
                const double square = dv[i] / (1 - pow(0.95, step));
                dp[i] -= 1e-2 * 0.1 * dp[i];
                dp[i] -= 1e-2 * mean / (sqrt(square) + 1e-8);
            }
        }
        for (int i = 0; i < N; i++) {
            assert_true(fabs(p[i] - dp[i]) <= 5e-7 * (fabs(dp[i]) + 0.1));
            assert_true(fabs(m[i] - dm[i]) <= 1e-6 * fabs(dm[i]));
            assert_true(fabs(v[i] - dv[i]) <= 1e-6 * dv[i]);
            assert_true(g[i] == 0);
        }
    }
}

static void threads_change_no_bit(void **state) {
    (void)state;
    static float p[2][N], g[2][N], m[2][N], v[2][N];
    const AdamW settings = {1e-3, 0.9, 0.999, 1e-8, 0.01, 1, 7, false};
    for (int t = 0; t < 2; t++) {
        fill(p[t], 0, 1);
        fill(g[t], 1, 1);
        fill(m[t], 2, 1);
        fill(v[t], 3, 1);
        for (int i = 0; i < N; i++) v[t][i] *= v[t][i];
        adamw_update(isa_best(), &settings, (AdamWRange){p[t], g[t], m[t], v[t], N}, 1 + 2 * t);
    }
    assert_memory_equal(p[0], p[1], sizeof p[0]);
    assert_memory_equal(m[0], m[1], sizeof m[0]);
    assert_memory_equal(v[0], v[1], sizeof v[0]);
    const double one = sum_of_squares(isa_best(), g[0], N, 1);
    const double three = sum_of_squares(isa_best(), g[0], N, 3);
    assert_memory_equal(&one, &three, sizeof one);
}

static void norms_match(void **state) {
    (void)state;
    static float g[N];
    fill(g, 1, 1);
    const int sizes[] = {0, 1, 3, 63, 64, 1031, N};
    for (Isa isa = ISA_PORTABLE; isa <= isa_best(); isa++)
        for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
            double sum = 0;
            for (int i = 0; i < sizes[s]; i++) sum += (double)g[i] * (double)g[i];
            /* Double sums of 2e4 terms in another order. */
            assert_true(fabs(sum_of_squares(isa, g, sizes[s], 2) - sum) <= 1e-13 * sum);
        }
    g[N / 2] = INFINITY;
    assert_true(isinf(sum_of_squares(isa_best(), g, N, 1)));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(updates_match),
        cmocka_unit_test(threads_change_no_bit),
        cmocka_unit_test(norms_match),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
